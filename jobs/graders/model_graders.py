"""Letting a model grade: what it is asked, and what of its answer counts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Final

from pydantic import Field, JsonValue, ValidationError

from jobs import inference
from jobs.graders.outcome import Outcome, token_usage
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema
from schemas.chat import ChatRequest
from schemas.completions import ChatCompletion
from schemas.errors import InvalidRequest, ModelServerUnavailable
from schemas.graders import GraderErrors, LabelModelGrader, SamplingParams, ScoreModelGrader

_STEP: Final[dict[str, JsonValue]] = {
    "type": "object",
    "properties": {"description": {"type": "string"}, "conclusion": {"type": "string"}},
    "required": ["description", "conclusion"],
    "additionalProperties": False,
}
_SCORE: Final[dict[str, JsonValue]] = {
    "type": "object",
    "properties": {
        "result": {"type": "number"},
        "steps": {"type": "array", "items": _STEP, "maxItems": 10},
    },
    "required": ["result", "steps"],
    "additionalProperties": False,
}
"""OpenAI's shape. The number of steps is bounded, or a small model may never come to an end."""

RenderedMessage = tuple[str, str]
"""A role, and the text with its variables filled in."""


class _Score(Schema):
    # OpenAI's guide shows the number as a string, too: read both.
    result: Annotated[float, Field(allow_inf_nan=False)]


class _Label(Schema):
    label: str


async def score(
    services: Services,
    caller: Caller,
    grader: ScoreModelGrader,
    messages: Sequence[RenderedMessage],
) -> Outcome:
    """Ask for a number; what is beyond the grader's range counts as the nearest end of it.

    Raises:
        NotFound: Nobody the caller may ask answers to the model's name.
    """
    chat = _request(
        grader.model, messages, name="score", schema=_SCORE, sampling=grader.sampling_params
    )
    asked, content = await _ask(services, caller, chat)
    if content is None:
        return asked
    try:
        result = _Score.model_validate_json(content).result
    except ValidationError:
        return replace(asked, errors=GraderErrors(model_grader_parse_error=True))
    least, greatest = grader.range
    return replace(asked, reward=min(max(result, least), greatest))


async def label(
    services: Services,
    caller: Caller,
    grader: LabelModelGrader,
    messages: Sequence[RenderedMessage],
) -> Outcome:
    """Ask for one of the labels; 1 for a passing one.

    Raises:
        NotFound: Nobody the caller may ask answers to the model's name.
    """
    schema: dict[str, JsonValue] = {
        "type": "object",
        "properties": {"label": {"type": "string", "enum": [*dict.fromkeys(grader.labels)]}},
        "required": ["label"],
        "additionalProperties": False,
    }
    chat = _request(grader.model, messages, name="label", schema=schema, sampling=None)
    asked, content = await _ask(services, caller, chat)
    if content is None:
        return asked
    try:
        chosen = _Label.model_validate_json(content).label
    except ValidationError:
        chosen = None
    if chosen not in grader.labels:
        return replace(asked, errors=GraderErrors(model_grader_parse_error=True))
    return replace(asked, reward=float(chosen in grader.passing_labels))


def _request(
    model: str,
    messages: Sequence[RenderedMessage],
    *,
    name: str,
    schema: dict[str, JsonValue],
    sampling: SamplingParams | None,
) -> ChatRequest:
    given = {} if sampling is None else sampling.model_dump(exclude_none=True)
    if "max_completions_tokens" in given:
        given["max_completion_tokens"] = given.pop("max_completions_tokens")
    named = {"name": name, "schema": schema, "strict": True}
    return ChatRequest.model_validate(
        {
            "model": model,
            "messages": [{"role": role, "content": text} for role, text in messages],
            "response_format": {"type": "json_schema", "json_schema": named},
            **given,
        }
    )


async def _ask(services: Services, caller: Caller, chat: ChatRequest) -> tuple[Outcome, str | None]:
    """Return what is known without the answer's content, and the content where there is an answer."""
    question = await inference.prepare(services, caller, chat)
    try:
        answer = await inference.complete(services, question)
    except (InvalidRequest, ModelServerUnavailable) as exc:
        errors = GraderErrors(
            model_grader_server_error=True, model_grader_server_error_details=exc.message
        )
        return Outcome(errors=errors), None
    return _asked(answer), answer.choices[0].message.content or ""


def _asked(answer: ChatCompletion) -> Outcome:
    return Outcome(usage={answer.model: token_usage(answer.usage)}, model=answer.model)
