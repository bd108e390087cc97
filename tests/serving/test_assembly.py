"""Chunks put together."""

from schemas.completions import (
    Chunk,
    ChunkChoice,
    ChunkWithUsage,
    Delta,
    FirstDelta,
    FunctionCallDelta,
    Logprobs,
    TokenLogprob,
    ToolCallDelta,
    Usage,
)
from serving.assembly import Assembly

USAGE = Usage(prompt_tokens=7, completion_tokens=4, total_tokens=11)


def choice(delta: Delta | FirstDelta, index: int = 0, **fields) -> ChunkChoice:
    return ChunkChoice(index=index, delta=delta, **fields)


def assembled(*choices: ChunkChoice, usage: Usage | None = USAGE):
    assembly = Assembly()
    names = {"id": "chatcmpl-1", "created": 1, "model": "nano", "system_fingerprint": "fp_1"}
    for one in choices:
        assembly.add(Chunk(**names, choices=[one]))
    assembly.add(ChunkWithUsage(**names, choices=[], usage=usage))
    return assembly.finish()


def test_choices_that_alternate():
    """Several choices come together each for itself, with their log-probabilities."""
    token = TokenLogprob(token="a", logprob=-0.5)
    whole = assembled(
        choice(FirstDelta(role="assistant")),
        choice(FirstDelta(role="assistant"), 1),
        choice(Delta(content="b"), 1),
        choice(Delta(content="a"), logprobs=Logprobs(content=[token])),
        choice(Delta(content="a"), logprobs=Logprobs(content=[token])),
        choice(Delta(), 1, finish_reason="length"),
        choice(Delta(), finish_reason="stop"),
    )
    assert [one.message.content for one in whole.choices] == ["aa", "b"]
    assert [one.finish_reason for one in whole.choices] == ["stop", "length"]
    assert whole.choices[0].logprobs.content == [token, token]
    assert whole.choices[1].logprobs is None
    assert (whole.id, whole.usage) == ("chatcmpl-1", USAGE)


def test_calls_in_pieces():
    """Calls of tools keep their order, ids and names; a message that only calls has no content."""
    pieces = [
        ToolCallDelta(
            index=0,
            id="call_1",
            type="function",
            function=FunctionCallDelta(name="f", arguments=""),
        ),
        ToolCallDelta(index=0, function=FunctionCallDelta(arguments='{"a"')),
        ToolCallDelta(
            index=1,
            id="call_2",
            type="function",
            function=FunctionCallDelta(name="g", arguments="{}"),
        ),
        ToolCallDelta(index=0, function=FunctionCallDelta(arguments=": 1}")),
    ]
    whole = assembled(
        *(choice(Delta(tool_calls=[piece])) for piece in pieces),
        choice(Delta(), finish_reason="tool_calls"),
    )
    message = whole.choices[0].message
    made = [(call.id, call.function.name, call.function.arguments) for call in message.tool_calls]
    assert made == [("call_1", "f", '{"a": 1}'), ("call_2", "g", "{}")]
    assert message.content is None


def test_what_has_no_end_is_no_answer():
    """A stream that broke off, or did not tell its usage, makes no answer."""
    begun = choice(FirstDelta(role="assistant", content="a"))
    assert assembled(begun) is None
    assert assembled(begun, choice(Delta(), finish_reason="stop"), usage=None) is None
    assert Assembly().finish() is None
