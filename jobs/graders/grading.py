"""What a user can do with graders: have one checked, and try one on a sample."""

import time
from dataclasses import dataclass
from typing import assert_never

from pydantic import JsonValue

from jobs import models
from jobs.graders import model_graders, python_grader, string_check, text_similarity
from jobs.graders.checks import check_formula, check_runnable, plain_graders
from jobs.graders.multi import combine
from jobs.graders.outcome import Outcome
from jobs.graders.templates import (
    RenderedTooLong,
    Scope,
    UnknownVariable,
    parse_template,
    render,
)
from jobs.keys import Caller
from jobs.services import Services
from schemas.errors import InvalidRequest
from schemas.graders import (
    Grader,
    GraderErrors,
    GraderMetadata,
    GraderRun,
    GraderValidated,
    InputMessage,
    LabelModelGrader,
    MultiGrader,
    PlainGrader,
    PythonGrader,
    RunGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
    ValidateGrader,
)
from schemas.strict_json import decode_json


async def validate(services: Services, caller: Caller, asked: ValidateGrader) -> GraderValidated:
    """Return the grader with its defaults, as it will be used.

    Raises:
        InvalidRequest: It can be run for no sample.
        NotFound: Nobody the caller may ask answers to the name of its model.
    """
    check_runnable(asked.grader, runs_python=services.settings.python_graders)
    check_formula(asked.grader)
    for _, part in plain_graders(asked.grader):
        if isinstance(part, ScoreModelGrader | LabelModelGrader):
            await models.target(services, caller, part.model)
    return GraderValidated(grader=asked.grader)


async def run(services: Services, caller: Caller, asked: RunGrader) -> GraderRun:
    """Return what the sample is worth. What goes wrong with this sample is told among the answer's errors.

    Raises:
        InvalidRequest: The grader can be run for no sample, or unfolds into too long a text for this one.
        NotFound: Nobody the caller may ask answers to the name of its model.
    """
    grader = asked.grader
    check_runnable(grader, runs_python=services.settings.python_graders)
    scope = {"item": asked.item or {}, "sample": sample_of(asked.model_sample)}
    began = time.perf_counter()
    try:
        outcome = await _Trial(services, caller, scope).grade(grader)
    except RenderedTooLong as exc:
        raise InvalidRequest(
            f"Invalid 'grader': {exc}.", param="grader", code="string_above_max_length"
        ) from exc
    tokens = [usage.total_tokens for usage in outcome.usage.values()]
    return GraderRun(
        reward=outcome.reward,
        metadata=GraderMetadata(
            name=grader.name,
            type=grader.type,
            errors=outcome.errors,
            execution_time=time.perf_counter() - began,
            scores=dict(outcome.scores),
            token_usage=sum(tokens) if tokens else None,
            sampled_model_name=outcome.model,
        ),
        sub_rewards=dict(outcome.scores),
        model_grader_token_usage_per_model=dict(outcome.usage),
    )


def sample_of(model_sample: str) -> dict[str, JsonValue]:
    """Return the namespace `sample` for a text; `output_json` is there only where the text is JSON."""
    sample: dict[str, JsonValue] = {
        "output_text": model_sample,
        "output_tools": [],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": model_sample}}],
    }
    try:
        sample["output_json"] = decode_json(model_sample.encode())
    except InvalidRequest:
        return sample
    return sample


@dataclass(frozen=True, slots=True)
class _Trial:
    """One sample, and who wants it graded."""

    services: Services
    caller: Caller
    scope: Scope

    async def grade(self, grader: Grader) -> Outcome:
        if not isinstance(grader, MultiGrader):
            return await self._grade_alone(grader)
        return combine(
            grader,
            {key: await self._grade_alone(part) for key, part in grader.named().items()},
        )

    async def _grade_alone(self, grader: PlainGrader) -> Outcome:
        try:
            return await self._grade(grader)
        except UnknownVariable as exc:
            name = exc.variable
            wants_json = name.namespace == "sample" and name.path[:1] == ("output_json",)
            if wants_json and "output_json" not in self.scope["sample"]:
                return Outcome(errors=GraderErrors(sample_parse_error=True))
            return Outcome(errors=GraderErrors(invalid_variable_error=True))

    async def _grade(self, grader: PlainGrader) -> Outcome:
        services, caller = self.services, self.caller
        match grader:
            case StringCheckGrader():
                input, reference = self._filled(grader.input), self._filled(grader.reference)
                is_match = string_check.is_match(input, reference, grader.operation)
                return Outcome(reward=float(is_match))
            case TextSimilarityGrader():
                return await text_similarity.grade(
                    services.grader_children,
                    metric=grader.evaluation_metric,
                    input=self._filled(grader.input),
                    reference=self._filled(grader.reference),
                )
            case ScoreModelGrader():
                messages = self._messages(grader.input)
                return await model_graders.score(services, caller, grader, messages)
            case LabelModelGrader():
                messages = self._messages(grader.input)
                return await model_graders.label(services, caller, grader, messages)
            case PythonGrader():
                return await python_grader.grade(
                    services.grader_children,
                    grader.source,
                    self.scope,
                    private=services.settings.data_dir.absolute(),
                    seconds=services.settings.python_grader_seconds,
                )
        assert_never(grader)

    def _messages(self, messages: list[InputMessage]) -> list[tuple[str, str]]:
        return [(message.role, self._filled(message.text)) for message in messages]

    def _filled(self, template: str) -> str:
        return render(parse_template(template), self.scope)
