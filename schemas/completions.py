"""Answers of `/v1/chat/completions`, whole and streamed, with every field OpenAI always sends."""

from typing import Annotated, Literal, TypeVar

from pydantic import Field

from schemas.base import Schema

T = TypeVar("T")


def _is_none(value: object) -> bool:
    return value is None


AbsentIfNone = Annotated[T | None, Field(exclude_if=_is_none)]
"""A field that OpenAI leaves out rather than sending null."""

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class TopLogprob(Schema):
    """One of the likeliest tokens at a position."""

    token: str
    logprob: float
    """In nats; -9999.0 stands for minus infinity."""
    bytes: list[int] | None = None


class TokenLogprob(TopLogprob):
    """A token of the answer, and the likeliest ones at its place."""

    top_logprobs: list[TopLogprob] = Field(default_factory=list)


class Logprobs(Schema):
    """How likely each token of a choice was."""

    content: list[TokenLogprob] | None = None
    refusal: None = None


class FunctionCall(Schema):
    """What to call: `arguments` is JSON as the model wrote it, which need not be valid."""

    name: str
    arguments: str


class ToolCall(Schema):
    """A call of one of the request's tools."""

    id: str
    type: Literal["function"] = "function"
    function: FunctionCall


class Message(Schema):
    """What the model answered."""

    role: Literal["assistant"] = "assistant"
    content: str | None = None
    refusal: None = None
    tool_calls: AbsentIfNone[list[ToolCall]] = None
    function_call: AbsentIfNone[FunctionCall] = None
    """In place of `tool_calls` where the request offered the deprecated `functions`."""
    annotations: list[None] = Field(default_factory=list)
    """Always empty: no model here searches the web."""


class Choice(Schema):
    """One of the `n` answers."""

    index: int
    message: Message
    logprobs: Logprobs | None = None
    finish_reason: FinishReason


class PromptTokensDetails(Schema):
    """Of the prompt's tokens, those that were not computed afresh."""

    cached_tokens: int = 0
    audio_tokens: int = 0


class CompletionTokensDetails(Schema):
    """Of the answer's tokens, the kinds that OpenAI bills apart."""

    reasoning_tokens: int = 0
    audio_tokens: int = 0
    accepted_prediction_tokens: int = 0
    rejected_prediction_tokens: int = 0


class Usage(Schema):
    """Counted tokens."""

    prompt_tokens: int
    completion_tokens: int = 0
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails = PromptTokensDetails()
    completion_tokens_details: CompletionTokensDetails = CompletionTokensDetails()


class ChatCompletion(Schema):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    """Unix seconds."""
    model: str
    choices: list[Choice]
    usage: Usage
    service_tier: Literal["default"] = "default"
    system_fingerprint: str | None = None


class FunctionCallDelta(Schema):
    """More of a call: its name comes whole and once, its arguments in pieces."""

    name: AbsentIfNone[str] = None
    arguments: AbsentIfNone[str] = None


class ToolCallDelta(Schema):
    """More of the call at `index`; `id` and `type` come only with its first piece."""

    index: int
    id: AbsentIfNone[str] = None
    type: AbsentIfNone[Literal["function"]] = None
    function: AbsentIfNone[FunctionCallDelta] = None


class Delta(Schema):
    """What a chunk adds to a message; nothing in a choice's last chunk."""

    content: AbsentIfNone[str] = None
    tool_calls: AbsentIfNone[list[ToolCallDelta]] = None
    function_call: AbsentIfNone[FunctionCallDelta] = None


class FirstDelta(Schema):
    """How every choice of a stream begins."""

    role: Literal["assistant"]
    content: str | None = ""
    refusal: None = None
    tool_calls: AbsentIfNone[list[ToolCallDelta]] = None
    function_call: AbsentIfNone[FunctionCallDelta] = None


class ChunkChoice(Schema):
    """What a chunk adds to one choice."""

    index: int
    delta: FirstDelta | Delta
    logprobs: Logprobs | None = None
    finish_reason: FinishReason | None = None


class Chunk(Schema):
    """One event of a stream."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    """Unix seconds, the same on all chunks of a stream."""
    model: str
    service_tier: Literal["default"] = "default"
    system_fingerprint: str | None = None
    choices: list[ChunkChoice]


class ChunkWithUsage(Chunk):
    """A chunk of a stream that was asked for `usage`: null on all but the last, which has no choices."""

    usage: Usage | None = None
