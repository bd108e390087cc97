"""Responses without a server: how they are told, kept and gone on from."""

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.housekeeping import tidy
from jobs.responses.conversation import items_of, messages_of
from jobs.responses.events import Narration, answered, replayed
from jobs.services import open_services
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.chat import MAX_MESSAGES
from schemas.completions import (
    ChatCompletion,
    Choice,
    ChunkChoice,
    ChunkWithUsage,
    Delta,
    FunctionCallDelta,
    Logprobs,
    Message,
    TokenLogprob,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from schemas.completions import FunctionCall as ChatCall
from schemas.errors import (
    InvalidRequest,
    ModelServerUnavailable,
    PreviousResponseNotFound,
    ResponseNotFound,
)
from schemas.ids import new_hex_id
from schemas.response_events import ArgumentsDelta, ItemEvent, TextDelta
from schemas.response_items import (
    FunctionCall,
    FunctionCallOutput,
    InputMessage,
    InputText,
    OutputMessage,
    OutputText,
)
from schemas.responses import Response

USAGE = Usage(prompt_tokens=1, completion_tokens=2, total_tokens=3)
ENDS = {
    None: "failed",
    "stop": "completed",
    "tool_calls": "completed",
    "length": "incomplete",
    "content_filter": "incomplete",
}


def begun(**fields) -> Response:
    return Response(
        **{"id": new_hex_id("resp_"), "created_at": 1, "status": "in_progress", "model": "m"}
        | fields
    )


def chunk(*, content=None, call=None, finish_reason=None, tokens=(), usage=None) -> ChunkWithUsage:
    logprobs = Logprobs(content=[TokenLogprob(token=token, logprob=-1.0) for token in tokens])
    choice = ChunkChoice(
        index=0,
        delta=Delta(content=content, tool_calls=call and [call]),
        logprobs=logprobs if tokens else None,
        finish_reason=finish_reason,
    )
    return ChunkWithUsage(id="c", created=1, model="m", choices=[choice], usage=usage)


def call_begins(index: int, name: str) -> ToolCallDelta:
    function = FunctionCallDelta(name=name, arguments="")
    return ToolCallDelta(index=index, id=f"call_{index}", type="function", function=function)


def call_goes_on(index: int, arguments: str) -> ToolCallDelta:
    return ToolCallDelta(index=index, function=FunctionCallDelta(arguments=arguments))


pieces = st.lists(st.text(max_size=5), max_size=4)
said = st.one_of(
    st.tuples(st.just("text"), pieces),
    st.tuples(st.just("call"), pieces),
)


@st.composite
def chunks(draw) -> list[ChunkWithUsage]:
    """An engine's stream: words and calls in any order, each call's pieces together, then maybe an end."""
    told, calls = [], 0
    for kind, texts in draw(st.lists(said, max_size=5)):
        if kind == "text":
            told += [chunk(content=text, tokens=[text]) for text in texts]
        else:
            told.append(chunk(call=call_begins(calls, "f")))
            told += [chunk(call=call_goes_on(calls, text)) for text in texts]
            calls += 1
    if reason := draw(st.sampled_from(list(ENDS))):
        told.append(chunk(finish_reason=reason, usage=USAGE))
    return told


@given(chunks())
def test_events_add_up_to_the_response(told) -> None:
    """Whatever comes: numbers without gaps, each item opened and closed once, deltas that are its text."""
    narration = Narration(begun())
    events = narration.begin()
    for piece in told:
        events += narration.tell(piece)
    events += narration.end(now=2)

    assert [event.sequence_number for event in events] == list(range(len(events)))
    response = events[-1].response
    assert response == narration.response
    assert response.status == ENDS[told[-1].choices[0].finish_reason if told else None]
    assert events[-1].type == f"response.{response.status}"
    items = [event for event in events if isinstance(event, ItemEvent)]
    kinds = ["response.output_item.added", "response.output_item.done"]
    assert [event.type for event in items] == kinds * len(response.output)
    assert [event.output_index for event in items[1::2]] == list(range(len(response.output)))
    assert [event.item for event in items[1::2]] == response.output
    for item in response.output:
        deltas = [
            event.delta
            for event in events
            if isinstance(event, TextDelta | ArgumentsDelta) and event.item_id == item.id
        ]
        assert "".join(deltas) == words_of(item)
    texts = "".join(piece.choices[0].delta.content or "" for piece in told)
    assert "".join(words_of(i) for i in response.output if isinstance(i, OutputMessage)) == texts


@given(chunks())
def test_a_response_told_again_is_the_same(told) -> None:
    """A replay has each item and ends with the response itself, numbered without gaps."""
    narration = Narration(begun())
    for piece in told:
        narration.tell(piece)
    narration.end(now=2)
    again = replayed(narration.response)
    assert [event.sequence_number for event in again] == list(range(len(again)))
    assert again[-1].response == narration.response
    done = [event.item for event in again if event.type == "response.output_item.done"]
    assert done == narration.response.output


def words_of(item) -> str:
    return item.arguments if isinstance(item, FunctionCall) else item.content[0].text


def test_a_whole_answer_is_what_its_stream_would_come_to() -> None:
    """Words, then calls, then the count of tokens."""
    call = ToolCall(id="call_0", function=ChatCall(name="f", arguments="{}"))
    completion = ChatCompletion(
        id="c",
        created=1,
        model="m",
        usage=USAGE,
        choices=[
            Choice(
                index=0,
                message=Message(content="hi", tool_calls=[call]),
                finish_reason="tool_calls",
            )
        ],
    )
    response = answered(begun(), completion, now=2)
    message, called = response.output
    assert (words_of(message), words_of(called), called.call_id) == ("hi", "{}", "call_0")
    assert (response.status, response.usage.total_tokens) == ("completed", 3)


def test_an_answer_without_a_word_is_an_empty_message() -> None:
    """Clients may rely on an item."""
    narration = Narration(begun())
    narration.tell(chunk(finish_reason="stop"))
    narration.end(now=2)
    assert [words_of(item) for item in narration.response.output] == [""]


def test_what_an_answer_broke_off_in_is_incomplete() -> None:
    """The open call is closed, its arguments as far as they came, and the response has failed."""
    narration = Narration(begun())
    narration.tell(chunk(content="a"))
    narration.tell(chunk(call=call_begins(0, "f")))
    narration.tell(chunk(call=call_goes_on(0, "{")))
    *_, last = narration.fail("It broke.")
    assert [item.status for item in last.response.output] == ["completed", "incomplete"]
    assert (last.response.error.code, last.response.error.message) == ("server_error", "It broke.")


def test_pieces_of_a_call_that_never_began_are_a_broken_answer() -> None:
    """The engine's mistake is not made up for."""
    narration = Narration(begun())
    with pytest.raises(ModelServerUnavailable):
        narration.tell(chunk(call=call_goes_on(0, "{")))


def test_tokens_without_text_are_told_with_the_next_text() -> None:
    """A character that takes two tokens has both their probabilities."""
    narration = Narration(begun())
    assert narration.tell(chunk(content="", tokens=["\\xf0"])) == []
    *_, delta = narration.tell(chunk(content="🙂", tokens=["\\x9f"]))
    assert [token.token for token in delta.logprobs] == ["\\xf0", "\\x9f"]


def test_the_tokens_of_calls_are_not_told() -> None:
    """The last token of a text is its own, even where it adds no letter; a call's tokens are nobody's."""
    narration = Narration(begun())
    narration.tell(chunk(content="a", tokens=["a"]))
    narration.tell(chunk(tokens=["<call>"]))
    narration.tell(chunk(call=call_begins(0, "f"), tokens=["f"]))
    narration.tell(chunk(finish_reason="tool_calls"))
    narration.end(now=2)
    message, _ = narration.response.output
    assert [token.token for token in message.content[0].logprobs] == ["a", "<call>"]


def test_a_conversation_that_is_too_long_is_refused() -> None:
    """With what came before it, by the number of its messages."""
    said = [InputText(text="x")]
    items = [InputMessage(id=str(n), role="user", content=said) for n in range(MAX_MESSAGES)]
    with pytest.raises(InvalidRequest, match=f"has {MAX_MESSAGES} messages"):
        messages_of(items)


def test_a_call_goes_back_by_the_name_that_the_model_chose() -> None:
    """Even where no client could have offered a function of that name."""
    call = FunctionCall(
        id="fc_1", status="completed", arguments="{", call_id="call_1", name="not a name!"
    )
    output = FunctionCallOutput(id="fc_2", call_id="call_1", output="There is none.")
    assistant, tool = messages_of([call, output])
    assert assistant.tool_calls[0].function.name == "not a name!"
    assert (tool.tool_call_id, tool.content) == ("call_1", "There is none.")


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


def over(text: str, **fields) -> Response:
    message = OutputMessage(
        id=new_hex_id("msg_"), status="completed", content=[OutputText(text=text)]
    )
    return begun(status="completed", output=[message], **fields)


async def add(store, text: str, *, project_id="proj_a", **fields) -> Response:
    response = over(text, **fields)
    await store.responses.add(response, items_of(f"{text}?", stored={}), project_id=project_id)
    return response


def texts(items) -> list[str]:
    return [item.content[0].text for item in items]


async def test_a_conversation_is_followed_to_its_beginning(store) -> None:
    """Oldest first, each question before its answer; other branches are left out."""
    one = await add(store, "one")
    two = await add(store, "two", previous_response_id=one.id)
    await add(store, "other", previous_response_id=one.id)
    three = await add(store, "three", previous_response_id=two.id)
    said = await store.responses.conversation(three.id, project_id="proj_a")
    assert texts(said) == ["one?", "one", "two?", "two", "three?", "three"]


async def test_another_projects_responses_are_as_if_they_were_not_there(store) -> None:
    """Not read, listed, gone on from, referred to or deleted."""
    made = await add(store, "mine")
    records = store.responses
    for attempt in (
        records.get(made.id, project_id="proj_b"),
        records.delete(made.id, project_id="proj_b"),
        records.input_page(made.id, project_id="proj_b", limit=9, after=None, order="asc"),
    ):
        with pytest.raises(ResponseNotFound):
            await attempt
    with pytest.raises(PreviousResponseNotFound):
        await records.conversation(made.id, project_id="proj_b")
    theirs = await add(store, "theirs", project_id="proj_b", previous_response_id=made.id)
    with pytest.raises(PreviousResponseNotFound, match=made.id):
        await records.conversation(theirs.id, project_id="proj_b")
    assert await records.items({made.output[0].id}, project_id="proj_b") == {}
    assert await records.get(made.id, project_id="proj_a") == made


async def test_items_go_with_their_response(store) -> None:
    """After a deletion nothing of it can be referred to; the others' items stay."""
    gone, kept = await add(store, "gone"), await add(store, "kept")
    ids = {gone.output[0].id, kept.output[0].id}
    await store.responses.delete(gone.id, project_id="proj_a")
    assert set(await store.responses.items(ids, project_id="proj_a")) == {kept.output[0].id}


async def test_tidying_deletes_responses_after_thirty_days(settings) -> None:
    """Older ones go, however many there are; younger ones stay."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    now = int(time.time())
    async with open_services(settings) as services:
        lifetime = 30 * 24 * 3600
        old = await add(services.store, "old", created_at=now - lifetime - 1)
        for n in range(250):
            await add(services.store, f"old {n}", created_at=now - lifetime - 2)
        young = await add(services.store, "young", created_at=now - lifetime + 60)
        await tidy(services, now=now)
        assert await services.store.responses.delete_older(than=now - lifetime) == 0
        with pytest.raises(ResponseNotFound):
            await services.store.responses.get(old.id, project_id="proj_a")
        assert await services.store.responses.get(young.id, project_id="proj_a") == young
