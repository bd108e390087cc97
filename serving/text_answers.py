"""vLLM's text completions in OpenAI's exact shape; see `serving.answers`, which does the same for chats."""

from statistics import fmean
from typing import Final, Literal

from schemas.base import Schema
from schemas.errors import ModelServerUnavailable
from schemas.text_completions import (
    TextChoice,
    TextChunk,
    TextChunkWithUsage,
    TextCompletion,
    TextLogprobs,
)
from serving.answers import EngineUsage, Envelope, encode_event, is_done, is_failure, payload_of

_NEVER: Final = -9999.0


class TextEnvelope(Envelope):
    """What a client sees in place of vLLM's own names, and what of an answer it asked for."""

    n: int = 1
    """Choices for each prompt."""
    candidates: int = 1
    """How many the engine makes for each prompt; of more than `n`, the likeliest are answered."""
    has_logprobs: bool = False
    """Whether the client asked for `logprobs`."""
    only_echoes: bool = False
    """Whether nothing is to be added to the prompt; vLLM makes a token none the less, and hides it."""


def read_text_completion(body: bytes, envelope: TextEnvelope) -> TextCompletion:
    """Return a whole answer as OpenAI would send it.

    Args:
        body: What vLLM answered to a request without `stream`.
        envelope: What the client is to see.

    Raises:
        pydantic.ValidationError: `body` is no text completion.
    """
    answer = _VllmAnswer.model_validate_json(body)
    choices = answer.choices
    if envelope.candidates > envelope.n:
        choices = _likeliest(choices, envelope)
    return TextCompletion(
        id=envelope.id,
        created=answer.created,
        model=envelope.model,
        system_fingerprint=envelope.system_fingerprint,
        choices=[
            _choice(choice, envelope, index=index, is_whole=True)
            for index, choice in enumerate(choices)
        ],
        usage=answer.usage.told(is_answered=not envelope.only_echoes),
    )


def rewrite_text_event(event: bytes, envelope: TextEnvelope) -> bytes:
    """Return one event of a stream as OpenAI would send it; empty: nothing.

    Args:
        event: One server-sent event of vLLM's, with its blank line.
        envelope: What the client is to see.

    Raises:
        ModelServerUnavailable: The engine says that it broke off.
        pydantic.ValidationError: The event is neither a chunk nor an error.
    """
    payload = payload_of(event)
    if is_done(payload):
        return event
    if is_failure(payload):
        raise ModelServerUnavailable("The server had an error while processing your request.")
    chunk = _VllmChunk.model_validate_json(payload)
    if not chunk.choices and not envelope.include_usage:
        return b""
    told = TextChunk(
        id=envelope.id,
        created=chunk.created,
        model=envelope.model,
        system_fingerprint=envelope.system_fingerprint,
        choices=[
            _choice(choice, envelope, index=choice.index, is_whole=False)
            for choice in chunk.choices
        ],
    )
    if envelope.include_usage:
        usage = chunk.usage and chunk.usage.told(is_answered=not envelope.only_echoes)
        told = TextChunkWithUsage(**dict(told), usage=usage)
    return encode_event(told)


class _VllmChoice(Schema):
    index: int
    text: str
    logprobs: TextLogprobs | None = None
    finish_reason: str | None = None

    @property
    def likelihood(self) -> float:
        """The mean log-probability of its tokens."""
        drawn = self.logprobs.token_logprobs if self.logprobs else []
        return fmean(_NEVER if one is None else one for one in drawn) if drawn else _NEVER


class _VllmAnswer(Schema):
    created: int
    choices: list[_VllmChoice]
    usage: EngineUsage


class _VllmChunk(Schema):
    created: int
    choices: list[_VllmChoice]
    usage: EngineUsage | None = None


def _likeliest(choices: list[_VllmChoice], envelope: TextEnvelope) -> list[_VllmChoice]:
    """Return for each prompt its `n` best candidates, the best first."""
    starts = range(0, len(choices), envelope.candidates)
    of_prompts = [choices[start : start + envelope.candidates] for start in starts]
    return [
        choice
        for candidates in of_prompts
        for choice in sorted(candidates, key=lambda one: -one.likelihood)[: envelope.n]
    ]


def _choice(
    choice: _VllmChoice, envelope: TextEnvelope, *, index: int, is_whole: bool
) -> TextChoice:
    return TextChoice(
        text=choice.text,
        index=index,
        logprobs=choice.logprobs if envelope.has_logprobs else None,
        finish_reason=_finish_reason(choice.finish_reason, envelope, is_whole=is_whole),
    )


def _finish_reason(
    reason: str | None, envelope: TextEnvelope, *, is_whole: bool
) -> Literal["stop", "length"] | None:
    if reason is None and not is_whole:
        return None
    # Its `abort` and `repetition` have no word at OpenAI; the answer was cut, as with `length`.
    return "stop" if reason == "stop" and not envelope.only_echoes else "length"
