"""`/v1/responses`, asked by OpenAI's own SDK."""

import asyncio
import json
import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from litestar.types import Message
from openai import AsyncOpenAI, BadRequestError, NotFoundError, OpenAI
from pydantic import BaseModel

from api.response_relay import Replay
from schemas.errors import StoreUnavailable
from schemas.response_events import ArgumentsDelta, Event
from tests.api_server import Server
from tests.fake_engine import WORDS
from tests.polling import eventually

TEXT = "".join(WORDS)
WEATHER = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
CLOCK = {"type": "function", "name": "clock", "parameters": {"type": "object"}, "strict": False}


@pytest.fixture(scope="module")
def strict(server: Server):
    """The SDK, refusing any answer that is not exactly of its types."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def asked_of(server: Server) -> dict:
    """What the engine was asked last."""
    return server.engine.requests[-1]


def test_a_whole_answer(strict: OpenAI, server: Server) -> None:
    """Words, counts and the request's own settings come back, and the engine was asked one user message."""
    response = strict.responses.create(model="gpt-4o-mini", input="hello", instructions="Be brief.")
    assert response.output_text == TEXT
    assert (response.status, response.model, response.error) == ("completed", "nano", None)
    assert response.completed_at >= response.created_at
    assert (response.usage.input_tokens, response.usage.output_tokens) == (7, 4)
    assert response.usage.total_tokens == 11
    (message,) = response.output
    assert (message.role, message.status) == ("assistant", "completed")
    assert message.content[0].annotations == message.content[0].logprobs == []
    assert (response.instructions, response.store, response.truncation) == (
        "Be brief.",
        True,
        "disabled",
    )
    assert (response.temperature, response.top_p, response.tool_choice) == (1.0, 1.0, "auto")
    assert asked_of(server)["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]


def test_the_settings_reach_the_engine_and_come_back(strict: OpenAI, server: Server) -> None:
    """What shapes the answer is passed on, under a chat's names."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    response = strict.responses.create(
        model="nano",
        input=[{"role": "user", "content": [{"type": "input_text", "text": "json"}]}],
        max_output_tokens=99,
        temperature=0.5,
        top_p=0.25,
        reasoning={"effort": "low"},
        text={"format": {"type": "json_schema", "name": "place", "schema": schema}},
        metadata={"a": "b"},
        user="u",
        safety_identifier="s",
        prompt_cache_key="k",
        service_tier="auto",
        max_tool_calls=3,
        parallel_tool_calls=False,
    )
    asked = asked_of(server)
    assert (asked["max_completion_tokens"], asked["temperature"], asked["top_p"]) == (99, 0.5, 0.25)
    assert asked["reasoning_effort"] == "low"
    assert asked["response_format"]["json_schema"] == {"name": "place", "schema": schema}
    assert asked["messages"] == [{"role": "user", "content": "json"}]
    assert response.text.format.schema_ == schema
    assert (response.metadata, response.user, response.reasoning.effort) == ({"a": "b"}, "u", "low")
    assert (response.safety_identifier, response.prompt_cache_key) == ("s", "k")
    assert (response.max_tool_calls, response.parallel_tool_calls) == (3, False)
    assert response.service_tier == "default"


def test_an_answer_that_is_cut_is_incomplete(strict: OpenAI) -> None:
    """The status, the reason and the message say so, streamed or not."""
    response = strict.responses.create(model="nano", input="cut")
    assert (response.status, response.completed_at) == ("incomplete", None)
    assert response.incomplete_details.reason == "max_output_tokens"
    assert response.output[0].status == "incomplete"
    *_, last = strict.responses.create(model="nano", input="cut", stream=True)
    assert last.type == "response.incomplete"


def test_log_probabilities_come_when_asked_for(strict: OpenAI) -> None:
    """In the text and in each delta, with the likeliest others."""
    asked = {"model": "nano", "input": "hello", "top_logprobs": 2}
    asked["include"] = ["message.output_text.logprobs"]
    response = strict.responses.create(**asked)
    logprobs = response.output[0].content[0].logprobs
    assert [token.token for token in logprobs] == list(WORDS)
    assert len(logprobs[0].top_logprobs) == response.top_logprobs == 2
    deltas = [
        event
        for event in strict.responses.create(**asked, stream=True)
        if event.type == "response.output_text.delta"
    ]
    assert [event.logprobs[0].token for event in deltas] == [event.delta for event in deltas]


def test_a_stream_tells_in_openais_order(strict: OpenAI) -> None:
    """Every event, numbered without gaps, the deltas adding up to the text."""
    events = list(strict.responses.create(model="nano", input="hello", stream=True))
    assert [event.type.removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        *["output_text.delta"] * len(WORDS),
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert (events[0].response.status, events[0].response.output) == ("in_progress", [])
    assert events[-1].response.output_text == TEXT
    assert events[-1].response.usage.total_tokens == 11


def test_a_streams_bytes(http: httpx.Client) -> None:
    """Events are named, there is no `[DONE]`, and the content type is OpenAI's."""
    body = {"model": "nano", "input": "hello", "stream": True}
    answer = http.post("/v1/responses", json=body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert "[DONE]" not in answer.text
    for event in answer.text.strip().split("\n\n"):
        name, data = event.split("\n")
        assert name.removeprefix("event: ") == json.loads(data.removeprefix("data: "))["type"]


def test_the_sdks_own_stream(strict: OpenAI) -> None:
    """`stream()` follows the events to the same answer."""
    with strict.responses.stream(model="nano", input="hello") as stream:
        snapshots = [e.snapshot for e in stream if e.type == "response.output_text.delta"]
        assert snapshots[-1] == stream.get_final_response().output_text == TEXT


class Place(BaseModel):
    city: str


def test_structured_answers_are_parsed(strict: OpenAI) -> None:
    """`parse()` and a stream with `text_format` give an object of the caller's own type."""
    parsed = strict.responses.parse(model="nano", input="json", text_format=Place)
    assert parsed.output_parsed == Place(city="Paris")
    with strict.responses.stream(model="nano", input="json", text_format=Place) as stream:
        assert stream.get_final_response().output_parsed == Place(city="Paris")


@pytest.mark.parametrize("streams", [False, True], ids=["whole", "stream"])
def test_functions_are_called_and_answered(strict: OpenAI, server: Server, streams: bool) -> None:
    """Two calls, their outputs by `previous_response_id`, and the engine sees one conversation."""
    asked = {"model": "nano", "input": "call", "tools": [WEATHER, CLOCK], "tool_choice": "required"}
    if streams:
        with strict.responses.stream(**asked) as stream:
            first = stream.get_final_response()
    else:
        first = strict.responses.create(**asked)
    assert asked_of(server)["tools"][0]["function"]["name"] == "weather"
    calls = first.output
    assert [call.name for call in calls] == ["weather", "clock"]
    assert all(call.id.startswith("fc_") and call.call_id.startswith("call_") for call in calls)
    assert json.loads(calls[0].arguments) == {"city": "Paris"}
    outputs = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "12"} for call in calls
    ]
    second = strict.responses.create(model="nano", input=outputs, previous_response_id=first.id)
    assert second.output_text == TEXT
    user, assistant, *tools = asked_of(server)["messages"]
    assert user == {"role": "user", "content": "call"}
    assert [call["id"] for call in assistant["tool_calls"]] == [call.call_id for call in calls]
    assert [tool["tool_call_id"] for tool in tools] == [call.call_id for call in calls]
    assert "tools" not in asked_of(server)


def test_a_streamed_call(strict: OpenAI) -> None:
    """Arguments come in pieces and then whole, with the function's name."""
    events = list(strict.responses.create(model="nano", input="call", tools=[WEATHER], stream=True))
    assert [event.type.removeprefix("response.") for event in events[2:-1]] == [
        "output_item.added",
        *["function_call_arguments.delta"] * 2,
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert events[-3].name == "weather"


def test_only_allowed_tools_are_offered(strict: OpenAI, server: Server) -> None:
    """`allowed_tools` keeps the others from the engine, and comes back as it was sent."""
    choice = {
        "type": "allowed_tools",
        "mode": "required",
        "tools": [{"type": "function", "name": "clock"}],
    }
    response = strict.responses.create(
        model="nano", input="call", tools=[WEATHER, CLOCK], tool_choice=choice
    )
    assert [call.name for call in response.output] == ["clock"]
    assert asked_of(server)["tool_choice"] == "required"
    assert response.tool_choice.model_dump() == choice
    assert len(response.tools) == 2


def test_answers_sent_back_as_they_came(strict: OpenAI, server: Server) -> None:
    """A client that keeps the conversation itself sends output items, thoughts too, as input."""
    first = strict.responses.create(model="nano", input="hello", store=False)
    thoughts = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    again = [
        {"role": "user", "content": "hello"},
        thoughts,
        *[item.model_dump(exclude_none=True) for item in first.output],
        {"role": "user", "content": "more"},
    ]
    strict.responses.create(model="nano", input=again, store=False)
    assert asked_of(server)["messages"] == [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "more"},
    ]


def test_a_conversation_goes_on_without_its_instructions(strict: OpenAI, server: Server) -> None:
    """All that was said is there, in order; the first instructions are not."""
    first = strict.responses.create(model="nano", input="one", instructions="Old.")
    second = strict.responses.create(model="nano", input="two", previous_response_id=first.id)
    strict.responses.create(
        model="nano", input="three", previous_response_id=second.id, instructions="New."
    )
    assert asked_of(server)["messages"] == [
        {"role": "system", "content": "New."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "three"},
    ]
    assert second.previous_response_id == first.id


def test_what_is_stored_can_be_read_and_deleted(strict: OpenAI, http: httpx.Client) -> None:
    """The same response, whole or told again; after its deletion it is unknown."""
    tools = [WEATHER]
    text = {"format": {"type": "json_schema", "name": "place", "schema": {"type": "object"}}}
    made = strict.responses.create(model="nano", input="hello", tools=tools, text=text)
    assert strict.responses.retrieve(made.id) == made
    told = list(strict.responses.retrieve(made.id, stream=True))
    assert told[-1].response == made
    assert [event.sequence_number for event in told] == list(range(len(told)))
    later = list(strict.responses.retrieve(made.id, stream=True, starting_after=3))
    assert later == told[4:]
    deleted = http.delete(f"/v1/responses/{made.id}").json()
    assert deleted == {"id": made.id, "object": "response", "deleted": True}
    with pytest.raises(NotFoundError, match=f"Response with id '{made.id}' not found."):
        strict.responses.retrieve(made.id)
    with pytest.raises(NotFoundError):
        strict.responses.delete(made.id)


def test_a_streamed_response_is_stored_when_it_is_over(strict: OpenAI) -> None:
    """What the last event holds can be retrieved, and told again with its calls."""
    *_, last = strict.responses.create(model="nano", input="call", tools=[WEATHER], stream=True)
    assert strict.responses.retrieve(last.response.id) == last.response
    *_, told = strict.responses.retrieve(last.response.id, stream=True)
    assert told.response == last.response


def test_what_is_not_to_be_stored_is_not(strict: OpenAI) -> None:
    """It cannot be retrieved, nor gone on from."""
    made = strict.responses.create(model="nano", input="hello", store=False)
    assert made.store is False
    with pytest.raises(NotFoundError):
        strict.responses.retrieve(made.id)
    with pytest.raises(BadRequestError, match=f"Previous response with id '{made.id}'") as raised:
        strict.responses.create(model="nano", input="x", previous_response_id=made.id)
    assert raised.value.code == "previous_response_not_found"
    assert raised.value.param == "previous_response_id"


def test_a_conversation_whose_beginning_is_gone(strict: OpenAI) -> None:
    """It is said which response is missing; what came after it can still be read."""
    first = strict.responses.create(model="nano", input="one")
    second = strict.responses.create(model="nano", input="two", previous_response_id=first.id)
    strict.responses.delete(first.id)
    assert strict.responses.retrieve(second.id) == second
    with pytest.raises(BadRequestError, match=first.id):
        strict.responses.create(model="nano", input="three", previous_response_id=second.id)


def test_input_items_are_paged_newest_first(strict: OpenAI) -> None:
    """Every kind of item, in either order, walked by the SDK's pages."""
    items = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "weather?"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"role": "assistant", "content": "It rains."},
        {"type": "reasoning", "id": "rs_2", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "user", "content": "thanks"},
    ]
    made = strict.responses.create(model="nano", input=items)
    listed = strict.responses.input_items.list(made.id, order="asc")
    assert [item.type for item in listed.data] == [item.get("type", "message") for item in items]
    assert listed.data[0].content[0].text == "Be kind."
    walked = list(strict.responses.input_items.list(made.id, limit=2))
    assert walked == listed.data[::-1]
    with pytest.raises(BadRequestError) as raised:
        strict.responses.input_items.list(made.id, after="msg_none")
    assert raised.value.param == "after"


def test_items_can_be_referred_to(strict: OpenAI, server: Server) -> None:
    """By their id, with or without a type; one that is not stored is named."""
    first = strict.responses.create(model="nano", input="hello")
    reference = {"id": first.output[0].id}
    strict.responses.create(model="nano", input=[reference, {"role": "user", "content": "more"}])
    assert [message["content"] for message in asked_of(server)["messages"]] == [TEXT, "more"]
    unknown = {"type": "item_reference", "id": "msg_none"}
    with pytest.raises(NotFoundError, match="Item with id 'msg_none' not found") as raised:
        strict.responses.create(model="nano", input=[unknown])
    assert raised.value.param == "input"
    with pytest.raises(BadRequestError, match="Duplicate item found"):
        strict.responses.create(model="nano", input=[reference, reference])


def test_calls_and_outputs_belong_together(client: OpenAI) -> None:
    """An output without its call, and a call without its output, are refused by the call's id."""
    output = {"type": "function_call_output", "call_id": "call_9", "output": "x"}
    with pytest.raises(BadRequestError, match=r"No tool call found .* call_9"):
        client.responses.create(model="nano", input=[output])
    call = {"type": "function_call", "call_id": "call_8", "name": "f", "arguments": "{}"}
    with pytest.raises(BadRequestError, match="No tool output found for function call call_8"):
        client.responses.create(model="nano", input=[call])


def test_tokens_are_counted(strict: OpenAI, server: Server) -> None:
    """As the engine counts them, with all that it would be shown."""
    counted = strict.responses.input_tokens.count(model="nano", input="hello", tools=[WEATHER])
    assert counted.input_tokens == 7
    assert asked_of(server)["max_completion_tokens"] == 1
    assert asked_of(server)["tools"]


def test_a_conversation_is_made_short(strict: OpenAI, server: Server) -> None:
    """The model summarises it; what comes back stands for all of it, even after being stored."""
    first = strict.responses.create(model="nano", input="one", instructions="Old.")
    short = strict.responses.compact(model="nano", input="two", previous_response_id=first.id)
    assert short.usage.total_tokens == 11
    *said, summarise = asked_of(server)["messages"]
    assert [message["content"] for message in said] == ["one", TEXT, "two"]
    assert summarise["content"].startswith("Summarise this conversation")

    item = short.output[0].model_dump(exclude_none=True)
    asked = [item, {"role": "user", "content": "three"}]
    second = strict.responses.create(model="nano", input=asked)
    strict.responses.create(model="nano", input="four", previous_response_id=second.id)
    assert asked_of(server)["messages"][:3] == [
        {"role": "user", "content": "one\n\ntwo"},
        {"role": "assistant", "content": TEXT},
        {"role": "user", "content": "three"},
    ]
    assert strict.responses.input_items.list(second.id).data[1].type == "compaction"


@pytest.mark.parametrize("content", ["", "é", "?", "bm8=", "e30=", "bm", "W10="])
def test_a_forged_compaction_is_refused(client: OpenAI, content: str) -> None:
    """Whatever its content is, it is the client's mistake."""
    item = {"type": "compaction", "encrypted_content": content}
    with pytest.raises(BadRequestError) as raised:
        client.responses.create(model="nano", input=[item])
    assert (raised.value.param, raised.value.code) == ("input", "invalid_encrypted_content")


def test_what_cannot_be_cancelled(client: OpenAI) -> None:
    """Nothing runs in the background: a stored response is over."""
    made = client.responses.create(model="nano", input="hello")
    with pytest.raises(BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id)
    with pytest.raises(NotFoundError):
        client.responses.cancel("resp_none")


@pytest.mark.parametrize(
    ("field", "value", "param", "code"),
    [
        ("background", True, "background", "unsupported_value"),
        ("truncation", "auto", "truncation", "unsupported_value"),
        ("conversation", "conv_1", "conversation", "unsupported_parameter"),
        ("prompt", {"id": "p"}, "prompt", "unsupported_parameter"),
        ("moderation", {"model": "m"}, "moderation", "unsupported_parameter"),
        ("tools", [{"type": "web_search"}], "tools[0].type", "unsupported_value"),
        ("tool_choice", {"type": "function", "name": "f"}, "tool_choice", "invalid_value"),
        ("tool_choice", "required", "tool_choice", "invalid_value"),
        ("text", {"verbosity": "low"}, "text.verbosity", "invalid_value"),
        ("reasoning", {"summary": "detailed"}, "reasoning.summary", "invalid_value"),
        ("max_output_tokens", 15, "max_output_tokens", "integer_below_min_value"),
        ("stream_options", {"include_obfuscation": True}, "stream_options", "invalid_value"),
        ("input", [], "input", "empty_array"),
        ("input", [{"type": "web_search_call"}], "input[0].type", "invalid_value"),
        ("input", None, "input", "missing_required_parameter"),
        ("input", [{"type": "reasoning", "summary": []}], "input", None),
        ("frequency_penalty", 1, "frequency_penalty", "unknown_parameter"),
        ("model", None, "model", "invalid_type"),
    ],
)
def test_what_is_not_done_here_is_refused_by_name(
    http: httpx.Client, field: str, value: object, param: str, code: str | None
) -> None:
    """Nothing that would change the answer is passed over in silence."""
    body = {"model": "nano", "input": "hello"} | {field: value}
    answer = http.post("/v1/responses", json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == (param, code)


def test_pictures_are_refused_by_name(client: OpenAI) -> None:
    """The part at fault is named."""
    picture = {"type": "input_image", "image_url": "https://x", "detail": "auto"}
    with pytest.raises(BadRequestError, match="input_image") as raised:
        client.responses.create(model="nano", input=[{"role": "user", "content": [picture]}])
    assert raised.value.param == "input[0].content[0].type"


def test_an_engine_that_refuses_fails_the_request_not_the_stream(client: OpenAI) -> None:
    """Until the engine answers, a stream can fail by its status."""
    for stream in (False, True):
        with pytest.raises(BadRequestError, match="empty string"):
            client.responses.create(model="nano", input="refuse", stream=stream)
    with pytest.raises(NotFoundError, match="does not exist"):
        client.responses.create(model="none", input="hello", stream=True)


def test_an_engine_that_goes_away_fails_the_response(strict: OpenAI) -> None:
    """The last event says so, what was open is closed, and the failed response is stored."""
    *before, last = strict.responses.create(model="nano", input="break", stream=True)
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.code == "server_error"
    assert last.sequence_number == len(before)
    assert strict.responses.retrieve(last.response.id) == last.response


async def test_a_stream_that_cannot_be_kept_says_so() -> None:
    """What breaks after the first event is an `error` event with the next number, and the stream ends."""

    def events() -> Iterator[Event]:
        yield ArgumentsDelta(item_id="fc_1", output_index=0, delta="{")
        raise StoreUnavailable("The database does not answer.")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> None:
        await asyncio.Event().wait()

    await Replay(events())({}, receive, send)
    name, data = sent[2]["body"].decode().strip().split("\n")
    assert name == "event: error"
    assert json.loads(data.removeprefix("data: ")) == {
        "sequence_number": 1,
        "type": "error",
        "code": "server_error",
        "message": "The database does not answer.",
        "param": None,
    }
    assert sent[-1]["more_body"] is False


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_a_client_that_hangs_up(server: Server, stream: bool) -> None:
    """A client that goes away stops the generation, streaming or not."""
    stopped = server.engine.stopped_early
    body = json.dumps({"model": "nano", "input": "hold", "stream": stream})
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(
            f"POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        eventually(lambda: server.engine.generating)
        if stream:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    eventually(lambda: server.engine.stopped_early == stopped + 1)
    eventually(lambda: not server.engine.generating)


async def test_the_async_sdk(server: Server) -> None:
    """Ask, stream, list and delete, as a program with an event loop does."""
    async with AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key=server.key, _strict_response_validation=True
    ) as client:
        made = await client.responses.create(model="nano", input="hello")
        async with client.responses.stream(model="nano", input="hello") as stream:
            assert (await stream.get_final_response()).output_text == made.output_text
        assert len([item async for item in client.responses.input_items.list(made.id)]) == 1
        await client.responses.delete(made.id)
