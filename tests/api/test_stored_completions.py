"""Chat completions that are kept, asked by OpenAI's own SDK."""

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api_server import Server

HELLO = [{"role": "user", "content": "hello"}]
ANSWER = "Hello, wörld 🙂"
WEATHER = {"name": "weather", "parameters": {"type": "object"}}


def ask(client: OpenAI, **fields):
    return client.chat.completions.create(
        **{"model": "nano", "messages": HELLO, "store": True} | fields
    )


def test_what_is_kept_is_what_was_answered(client: OpenAI) -> None:
    """A kept answer is there at once, as it was given, with what shaped it."""
    given = ask(client, metadata={"a": "b"}, temperature=0.5, seed=7, user="me")
    kept = client.chat.completions.retrieve(given.id)
    assert (kept.choices, kept.usage, kept.model) == (given.choices, given.usage, "nano")
    assert (kept.metadata, kept.temperature, kept.seed) == ({"a": "b"}, 0.5, 7)
    assert (kept.input_user, kept.request_id) == ("me", given._request_id)
    assert (kept.top_p, kept.tools, kept.response_format) == (1.0, None, None)


@pytest.mark.parametrize("usage", [True, False])
def test_streamed_answers_are_kept_whole(client: OpenAI, usage: bool) -> None:
    """When a client has the end of a stream, the whole answer is there; the stream is as without `store`."""
    options = {"stream": True, "stream_options": {"include_usage": usage}, "logprobs": True}
    told = list(ask(client, **options))
    plain = list(ask(client, **options | {"store": False}))
    assert [chunk.choices for chunk in told] == [chunk.choices for chunk in plain]
    assert [chunk.usage for chunk in told] == [chunk.usage for chunk in plain]
    kept = client.chat.completions.retrieve(told[0].id)
    assert kept.choices[0].message.content == ANSWER
    assert "".join(one.token for one in kept.choices[0].logprobs.content) == ANSWER
    assert kept.choices[0].finish_reason == "stop"
    assert kept.usage.total_tokens == 11


@pytest.mark.parametrize("offered", ["tools", "functions"])
def test_streamed_calls_are_kept(client: OpenAI, offered: str) -> None:
    """A call that came in pieces is kept in one, in the shape that was asked for."""
    tools = {
        "tools": [{"type": "function", "function": WEATHER}],
        "functions": [WEATHER],
    }
    call = [{"role": "user", "content": "call"}]
    chunks = list(ask(client, messages=call, stream=True, **{offered: tools[offered]}))
    kept = client.chat.completions.retrieve(chunks[0].id).choices[0]
    made = kept.message.tool_calls[0].function if offered == "tools" else kept.message.function_call
    assert (made.name, made.arguments) == ("weather", '{"city": "Paris"}')
    assert kept.finish_reason == ("tool_calls" if offered == "tools" else "function_call")


def test_what_nobody_asked_to_keep_is_not_kept(client: OpenAI) -> None:
    """Without `store`, or where the answer broke off, there is nothing to look up."""
    given = ask(client, store=False)
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.chat.completions.retrieve(given.id)
    broken = ask(client, messages=[{"role": "user", "content": "break"}], stream=True)
    first = next(broken)
    with pytest.raises(openai.APIError):
        list(broken)
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(first.id)


def test_lists(client: OpenAI, server: Server) -> None:
    """Kept answers are listed oldest first, page by page, by model and by metadata."""
    name = server.add_tuned_model()
    made = [ask(client, model=name, metadata={'n"': str(n % 2)}).id for n in range(5)]
    completions = client.chat.completions
    assert [kept.id for kept in completions.list(model=name, limit=2)] == made
    assert [kept.id for kept in completions.list(model=name, order="desc", limit=3)] == made[::-1]
    odd = completions.list(model=name, metadata={'n"': "1"})
    assert [kept.id for kept in odd] == made[1::2]
    page = completions.list(model=name, after=made[3])
    assert [kept.id for kept in page.data] == made[4:]
    assert not page.has_more
    ask(client)
    by_alias = completions.list(model="gpt-4o-mini", limit=100)
    assert {kept.model for kept in by_alias} == {"nano"}


def test_metadata_can_be_changed_and_nothing_else(client: OpenAI, http: httpx.Client) -> None:
    """An update takes the place of the metadata; null takes it away."""
    given = ask(client, metadata={"a": "b"})
    changed = client.chat.completions.update(given.id, metadata={"c": "d"})
    assert changed.metadata == {"c": "d"}
    assert client.chat.completions.retrieve(given.id).metadata == {"c": "d"}
    assert client.chat.completions.update(given.id, metadata=None).metadata == {}
    path = f"/v1/chat/completions/{given.id}"
    refused = http.post(path, json={"metadata": {}, "model": "x"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "model")
    assert http.post(path, json={}).json()["error"]["code"] == "missing_required_parameter"


def test_deletion(client: OpenAI) -> None:
    """What is deleted is gone, once."""
    given = ask(client)
    deleted = client.chat.completions.delete(given.id)
    assert (deleted.id, deleted.object, deleted.deleted) == (
        given.id,
        "chat.completion.deleted",
        True,
    )
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.delete(given.id)


def test_messages(client: OpenAI) -> None:
    """The conversation can be read, page by page; content that came in pieces is shown in pieces."""
    said = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}], "name": "Ann"},
        {"role": "assistant", "content": "b"},
        *HELLO,
    ]
    given = ask(client, messages=said)
    messages = client.chat.completions.messages
    read = list(messages.list(given.id, limit=3))
    assert [message.id for message in read] == [f"{given.id}-{place}" for place in range(4)]
    assert [message.role for message in read] == ["developer", "user", "assistant", "user"]
    assert (read[0].content, read[0].content_parts) == ("be kind", None)
    assert (read[1].content, read[1].content_parts[0].text) == (None, "a")
    newest = messages.list(given.id, order="desc", limit=1)
    assert (newest.data[0].content, newest.has_more) == ("hello", True)
    with pytest.raises(openai.BadRequestError, match="to go on after"):
        messages.list(given.id, after="none")


def test_strict_clients_read_them(strict: OpenAI) -> None:
    """The SDK, strict about types, reads what is kept."""
    given = ask(strict)
    assert strict.chat.completions.retrieve(given.id).id == given.id
    assert strict.chat.completions.list(limit=1).data
    assert strict.chat.completions.update(given.id, metadata={"a": "b"}).metadata == {"a": "b"}
    assert strict.chat.completions.delete(given.id).deleted
