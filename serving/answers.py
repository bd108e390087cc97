"""vLLM's chat completions in OpenAI's exact shape: its own fields dropped, OpenAI's always there.

Pure: bytes that vLLM sent in, what the client may see out. What is not named in `schemas.completions`
cannot pass, so a field that a later vLLM adds stays inside.
"""

import hashlib
from typing import Final

from pydantic import Field

from schemas.base import Schema
from schemas.completions import (
    ChatCompletion,
    Choice,
    Chunk,
    ChunkChoice,
    ChunkWithUsage,
    CompletionTokensDetails,
    Delta,
    FinishReason,
    FirstDelta,
    FunctionCallDelta,
    Logprobs,
    Message,
    PromptTokensDetails,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from schemas.errors import ErrorBody, ErrorResponse, ModelServerUnavailable

_DATA: Final = b"data: "
_END: Final = b"\n\n"
_DONE: Final = b"[DONE]"
DONE: Final = _DATA + _DONE + _END
"""The event that ends a stream."""
_VLLM_CALL_ID: Final = "chatcmpl-tool-"
_FINISH_REASONS: Final[dict[str | None, FinishReason]] = {
    "stop": "stop",
    "tool_calls": "tool_calls",
    "length": "length",
}

_NO_CHOICES: Final = (b'"choices":[]', b'"choices": []')
"""What the event that tells of usage holds: cheaper to look for than to parse every event twice."""


class Envelope(Schema):
    """What a client sees in place of vLLM's own names for one answer."""

    id: str
    """Such as `chatcmpl-…` (`schemas.ids`)."""
    model: str
    """The public name that was asked."""
    system_fingerprint: str
    """See `fingerprint_of`."""
    include_usage: bool = False
    """Whether the client asked for `stream_options.include_usage`."""
    calls_functions: bool = False
    """Whether the client offered `functions`: a call is then a `function_call`, not one of `tool_calls`."""


def fingerprint_of(*origins: str) -> str:
    """Return `fp_` and ten hexadecimal digits that change when any of `origins` does.

    Args:
        origins: What can change an answer: a base's digest, an adapter's.
    """
    return f"fp_{hashlib.sha256(chr(0).join(origins).encode()).hexdigest()[:10]}"


def read_completion(body: bytes, envelope: Envelope) -> ChatCompletion:
    """Return a whole answer as OpenAI would send it.

    Args:
        body: What vLLM answered to a request without `stream`.
        envelope: What the client is to see.

    Raises:
        pydantic.ValidationError: `body` is no chat completion.
    """
    answer = _VllmAnswer.model_validate_json(body)
    return ChatCompletion(
        id=envelope.id,
        created=answer.created,
        model=envelope.model,
        choices=[_choice(choice, envelope) for choice in answer.choices],
        usage=answer.usage.told(),
        system_fingerprint=envelope.system_fingerprint,
    )


def rewrite_event(event: bytes, envelope: Envelope) -> bytes:
    """Return one event of a stream as OpenAI would send it: no event, one or two.

    Args:
        event: One server-sent event of vLLM's, with its blank line.
        envelope: What the client is to see.

    Raises:
        ModelServerUnavailable: The engine says that it broke off.
        pydantic.ValidationError: The event is neither a chunk nor an error.
    """
    if is_done(payload_of(event)):
        return event
    return b"".join(encode_event(chunk) for chunk in read_event(event, envelope))


def read_event(event: bytes, envelope: Envelope) -> list[Chunk]:
    """Return what one event of a stream tells, in OpenAI's shape.

    Args:
        event: One server-sent event of vLLM's, with its blank line.
        envelope: What the client is to see.

    Returns:
        No chunk, one or two: usage that nobody asked for is dropped, and where vLLM ends a choice together with
        its last words, the end follows by itself, as at OpenAI.

    Raises:
        ModelServerUnavailable: The engine says that it broke off.
        pydantic.ValidationError: The event is neither a chunk nor an error.
    """
    payload = payload_of(event)
    if is_done(payload):
        return []
    if is_failure(payload):
        raise ModelServerUnavailable("The server had an error while processing your request.")
    chunk = _VllmChunk.model_validate_json(payload)
    if not chunk.choices:
        return [_usage_chunk(chunk, envelope)] if envelope.include_usage else []
    words = [_words(choice, envelope) for choice in chunk.choices if choice.has_words]
    ends = [_end(choice, envelope) for choice in chunk.choices if choice.finish_reason is not None]
    return [_chunk(chunk, part, envelope) for part in (words, ends) if part]


def read_usage(event: bytes) -> Usage | None:
    """Return what an event tells of the tokens that the whole answer took; only the last one does."""
    if not any(mark in event for mark in _NO_CHOICES):
        return None
    chunk = _VllmChunk.model_validate_json(payload_of(event))
    return None if chunk.usage is None else chunk.usage.told()


def without_usage(chunk: Chunk) -> Chunk | None:
    """Return what a stream tells a client that asked for no usage; None: nothing."""
    if not chunk.choices:
        return None
    return Chunk(
        id=chunk.id,
        created=chunk.created,
        model=chunk.model,
        system_fingerprint=chunk.system_fingerprint,
        choices=chunk.choices,
    )


def encode_event(body: Schema) -> bytes:
    """Return a server-sent event that carries `body`."""
    return _DATA + body.model_dump_json().encode() + _END


def payload_of(event: bytes) -> bytes:
    """Return what a server-sent event carries."""
    return event.removeprefix(_DATA).strip()


def is_done(payload: bytes) -> bool:
    """Whether an event ends its stream."""
    return payload == _DONE


def is_failure(payload: bytes) -> bool:
    """Whether an event tells that the engine broke off."""
    return payload.startswith(b'{"error"')


def stream_error(message: str) -> bytes:
    """Return the event that tells a client that its stream broke: OpenAI's SDKs raise on it."""
    return encode_event(ErrorResponse(error=ErrorBody(message=message, type="server_error")))


class _VllmMessage(Schema):
    content: str | None = None
    tool_calls: list[ToolCall] = Field(default_factory=list)


class _VllmChoice(Schema):
    index: int
    message: _VllmMessage
    logprobs: Logprobs | None = None
    finish_reason: str | None = None


class _VllmPromptTokens(Schema):
    cached_tokens: int | None = None


class _VllmCompletionTokens(Schema):
    reasoning_tokens: int | None = None


class EngineUsage(Schema):
    """The tokens that an answer took, as vLLM counts them."""

    prompt_tokens: int
    completion_tokens: int | None = None
    total_tokens: int
    prompt_tokens_details: _VllmPromptTokens | None = None
    completion_tokens_details: _VllmCompletionTokens | None = None

    def told(self, *, is_answered: bool = True) -> Usage:
        """Return it in OpenAI's shape.

        Args:
            is_answered: Whether what was made was answered; tokens that nobody sees do not count.
        """
        prompt, completion = self.prompt_tokens_details, self.completion_tokens_details
        made = (self.completion_tokens or 0) if is_answered else 0
        return Usage(
            prompt_tokens=self.prompt_tokens,
            completion_tokens=made,
            total_tokens=self.prompt_tokens + made,
            prompt_tokens_details=PromptTokensDetails(
                cached_tokens=(prompt and prompt.cached_tokens) or 0
            ),
            completion_tokens_details=CompletionTokensDetails(
                reasoning_tokens=(completion and completion.reasoning_tokens) or 0
            ),
        )


class _VllmAnswer(Schema):
    created: int
    choices: list[_VllmChoice]
    usage: EngineUsage


class _VllmDelta(Schema):
    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] = Field(default_factory=list)


class _VllmChunkChoice(Schema):
    index: int
    delta: _VllmDelta
    logprobs: Logprobs | None = None
    finish_reason: str | None = None

    @property
    def has_words(self) -> bool:
        """Whether there is anything to add to the message, or to tell about its tokens."""
        delta = self.delta
        return bool(delta.role or delta.content or delta.tool_calls or self.logprobs) or (
            self.finish_reason is None
        )


class _VllmChunk(Schema):
    created: int
    choices: list[_VllmChunkChoice]
    usage: EngineUsage | None = None


def _choice(choice: _VllmChoice, envelope: Envelope) -> Choice:
    calls = [
        call.model_copy(update={"id": _call_id(call.id)}) for call in choice.message.tool_calls
    ]
    content = choice.message.content
    is_legacy = bool(calls) and envelope.calls_functions
    return Choice(
        index=choice.index,
        message=Message(
            content=(content or None) if calls else (content or ""),
            tool_calls=None if is_legacy else calls or None,
            function_call=calls[0].function if is_legacy else None,
        ),
        logprobs=choice.logprobs,
        finish_reason=_finish_reason(choice.finish_reason, envelope),
    )


def _words(choice: _VllmChunkChoice, envelope: Envelope) -> ChunkChoice:
    delta = choice.delta
    calls = [
        call.model_copy(update={"id": _call_id(call.id)}) if call.id else call
        for call in delta.tool_calls
    ]
    called: FunctionCallDelta | None = None
    if envelope.calls_functions:
        # Such a message has room for one call, which is all that the engine was asked for.
        called = next((call.function for call in calls if call.index == 0), None)
        calls = []
    added = (
        FirstDelta(
            role="assistant",
            content=delta.content or "",
            tool_calls=calls or None,
            function_call=called,
        )
        if delta.role
        else Delta(content=delta.content, tool_calls=calls or None, function_call=called)
    )
    return ChunkChoice(index=choice.index, delta=added, logprobs=choice.logprobs)


def _end(choice: _VllmChunkChoice, envelope: Envelope) -> ChunkChoice:
    reason = _finish_reason(choice.finish_reason, envelope)
    return ChunkChoice(index=choice.index, delta=Delta(), finish_reason=reason)


def _finish_reason(reason: str | None, envelope: Envelope) -> FinishReason:
    # Its `abort` and `repetition` have no word at OpenAI; the answer was cut, as with `length`.
    known = _FINISH_REASONS.get(reason, "length")
    return "function_call" if known == "tool_calls" and envelope.calls_functions else known


def _call_id(vllm_id: str) -> str:
    return "call_" + vllm_id.removeprefix(_VLLM_CALL_ID)


def _chunk(chunk: _VllmChunk, choices: list[ChunkChoice], envelope: Envelope) -> Chunk:
    shape = ChunkWithUsage if envelope.include_usage else Chunk
    return shape(
        id=envelope.id,
        created=chunk.created,
        model=envelope.model,
        system_fingerprint=envelope.system_fingerprint,
        choices=choices,
    )


def _usage_chunk(chunk: _VllmChunk, envelope: Envelope) -> Chunk:
    return ChunkWithUsage(
        id=envelope.id,
        created=chunk.created,
        model=envelope.model,
        system_fingerprint=envelope.system_fingerprint,
        choices=[],
        usage=chunk.usage and chunk.usage.told(),
    )
