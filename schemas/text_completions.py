"""`/v1/completions`: the request, what of it an engine is asked, and the answers, whole and streamed.

As in `schemas.chat`, nothing passes to the engine that is not named here.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from schemas.base import RequestBody, Schema
from schemas.chat import (
    MAX_CHOICES,
    Bias,
    StopSequence,
    StreamOptions,
    TokenId,
    greedy_in_numbers,
    only_of_a_stream,
)
from schemas.completions import Usage
from schemas.prompts import Prompt, count_prompts, estimate_tokens

MAX_PROMPTS: Final = 128
"""OpenAI takes 2048; each is a sequence of its own on the device."""
MAX_BEST_OF: Final = 20
MAX_SEQUENCES: Final = 256
"""Prompts times candidates."""


def _refuse_suffix(value: str | None) -> str | None:
    if value:
        raise PydanticCustomError(
            "unsupported_parameter",
            "Unsupported parameter: '{param}' is not supported with this model, which only continues "
            "text. Leave it out.",
        )
    return value


class TextRequest(RequestBody):
    """The body of `POST /v1/completions`."""

    model: str = Field(min_length=1, max_length=512)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: int | None = Field(default=None, ge=1, le=MAX_CHOICES)
    best_of: int | None = Field(default=None, ge=0, le=MAX_BEST_OF)
    """How many are made for each prompt, of which the `n` likeliest are answered; 0: as many as `n`."""
    prompt: Prompt
    echo: bool | None = None
    max_tokens: int | None = Field(default=None, ge=0, le=10_000_000)
    """None: 16, as at OpenAI."""
    logprobs: int | None = Field(default=None, ge=0, le=5)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), le=2**63 - 1)
    stop: StopSequence | Annotated[list[StopSequence], Field(min_length=1, max_length=4)] | None = (
        None
    )
    logit_bias: Annotated[dict[TokenId, Bias], Field(max_length=300)] | None = None
    suffix: Annotated[str | None, AfterValidator(_refuse_suffix)] = None
    user: str | None = None

    @field_validator("stream_options")
    @classmethod
    def _only_of_a_stream(
        cls, value: StreamOptions | None, info: ValidationInfo
    ) -> StreamOptions | None:
        return only_of_a_stream(value, info)

    @field_validator("best_of")
    @classmethod
    def _makes_at_least_what_it_answers(cls, value: int | None, info: ValidationInfo) -> int | None:
        n = info.data.get("n") or 1
        if value and value < n:
            raise PydanticCustomError(
                "invalid_value",
                "You requested that the server return more choices than it will generate (HINT: you "
                f"must set 'n' (currently {n}) to be at most 'best_of' (currently {value}), or omit "
                "either parameter if you don't specifically want to use them.)",
            )
        if value and value > n and info.data.get("stream"):
            raise PydanticCustomError(
                "invalid_value",
                "Results cannot be streamed when '{param}' is greater than 'n'.",
            )
        return value

    @field_validator("echo")
    @classmethod
    def _not_of_the_best(cls, value: bool | None, info: ValidationInfo) -> bool | None:
        n, best_of = info.data.get("n") or 1, info.data.get("best_of") or 0
        if value and best_of > n:
            raise PydanticCustomError(
                "unsupported_value",
                "Unsupported value: '{param}' does not support true together with 'best_of' greater "
                "than 'n'.",
            )
        return value

    @field_validator("max_tokens")
    @classmethod
    def _makes_something(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value == 0 and not info.data.get("echo"):
            raise PydanticCustomError(
                "invalid_value",
                "Invalid '{param}': Expected a value >= 1 (0 only together with 'echo'), but got 0 instead.",
            )
        return value

    @field_validator("prompt")
    @classmethod
    def _fits_on_the_device(cls, value: Prompt, info: ValidationInfo) -> Prompt:
        n_prompts = count_prompts(value)
        if n_prompts > MAX_PROMPTS:
            raise PydanticCustomError(
                "array_above_max_length",
                f"Invalid '{{param}}': array too long. Expected an array with maximum length "
                f"{MAX_PROMPTS}, but got an array with length {n_prompts} instead.",
            )
        wanted = n_prompts * (info.data.get("best_of") or info.data.get("n") or 1)
        if wanted > MAX_SEQUENCES:
            raise PydanticCustomError(
                "invalid_value",
                f"Invalid '{{param}}': this request asks for {wanted} completions at once; at most "
                f"{MAX_SEQUENCES} are made for one. Send fewer prompts, or lower 'n' or 'best_of'.",
            )
        return value

    @property
    def candidates(self) -> int:
        """How many completions are made for each prompt."""
        return self.best_of or self.n or 1

    def estimated_tokens(self) -> int:
        """Guess what the prompts and all candidates will take."""
        made = 16 if self.max_tokens is None else self.max_tokens
        answers = count_prompts(self.prompt) * self.candidates
        return estimate_tokens(self.prompt) + made * answers

    @property
    def includes_usage(self) -> bool:
        """Whether a stream shall end with the tokens it took."""
        return bool(self.stream_options and self.stream_options.include_usage)


_FORWARDED: Final = {
    "echo",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_tokens",
    "n",
    "presence_penalty",
    "prompt",
    "seed",
    "stop",
    "stream",
    "temperature",
    "top_p",
}


def to_upstream(request: TextRequest, *, cache_salt: str) -> dict[str, Any]:
    """Return what the engine is asked, all but who shall answer.

    Args:
        request: Checked.
        cache_salt: One for each project, so that no prompt's timing tells another project of it.
    """
    body: dict[str, Any] = {
        name: value
        for name, value in request.model_dump(include=_FORWARDED, exclude_unset=True).items()
        if value is not None
    }
    body["cache_salt"] = cache_salt
    if request.stream:
        # Asked for always: it is what usage is counted by. The client sees it if the client asked.
        body["stream_options"] = {"include_usage": True}
    if request.candidates > (request.n or 1):
        body["n"] = request.candidates
        body["logprobs"] = request.logprobs or 0  # to tell the best: the tokens that were drawn
    return body | greedy_in_numbers(
        request.temperature, request.top_p, n_choices=request.candidates
    )


class TextLogprobs(Schema):
    """How likely each token was; four lists of one length. With `echo`, the prompt's tokens come first."""

    tokens: list[str]
    token_logprobs: list[float | None]
    """In nats; -9999.0 stands for minus infinity, None for the first token of a prompt."""
    top_logprobs: list[dict[str, float] | None]
    """The likeliest tokens at each place, and the one that was drawn."""
    text_offset: list[int]
    """Where each token begins, in characters."""


class TextChoice(Schema):
    """One completion of one prompt; those of the first prompt come first."""

    text: str
    index: int
    logprobs: TextLogprobs | None = None
    finish_reason: Literal["stop", "length", "content_filter"] | None
    """None on the events of a stream before a choice's last."""


class TextCompletion(Schema):
    """A whole answer."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    """Unix seconds."""
    model: str
    system_fingerprint: str | None = None
    choices: list[TextChoice]
    usage: Usage


class TextChunk(Schema):
    """One event of a stream; of the same kind as a whole answer, unlike at `/v1/chat/completions`."""

    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    """Unix seconds, the same on all events of a stream."""
    model: str
    system_fingerprint: str | None = None
    choices: list[TextChoice]


class TextChunkWithUsage(TextChunk):
    """An event of a stream that was asked for `usage`: null on all but the last, which has no choices."""

    usage: Usage | None = None
