"""What came of grading one sample: a reward, what went wrong, and what asking models took."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from schemas.completions import Usage
from schemas.graders import GraderErrors, TokenUsage


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one grader."""

    reward: float = 0.0
    errors: GraderErrors = field(default_factory=GraderErrors)
    scores: Mapping[str, float] = field(default_factory=dict)
    """By grader, where it is made of several."""
    usage: Mapping[str, TokenUsage] = field(default_factory=dict)
    """By the model that was asked."""
    model: str | None = None
    """That was asked last."""


def token_usage(usage: Usage) -> TokenUsage:
    """Return of an answer's usage what graders show."""
    return TokenUsage(
        prompt_tokens=usage.prompt_tokens,
        total_tokens=usage.total_tokens,
        completion_tokens=usage.completion_tokens,
        cached_tokens=usage.prompt_tokens_details.cached_tokens,
    )


def merged_errors(outcomes: Sequence[Outcome]) -> GraderErrors:
    """Return each error that any of them had; of details, the first."""
    found: dict[str, object] = {}
    for outcome in outcomes:
        for name, value in outcome.errors.model_dump(exclude_defaults=True).items():
            found.setdefault(name, value)
    return GraderErrors.model_validate(found)


def merged_usage(outcomes: Sequence[Outcome]) -> dict[str, TokenUsage]:
    """Return the sum by model."""
    total: dict[str, TokenUsage] = {}
    for outcome in outcomes:
        for model, usage in outcome.usage.items():
            total[model] = _sum(total[model], usage) if model in total else usage
    return total


def _sum(one: TokenUsage, other: TokenUsage) -> TokenUsage:
    return TokenUsage(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        total_tokens=one.total_tokens + other.total_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cached_tokens=one.cached_tokens + other.cached_tokens,
    )
