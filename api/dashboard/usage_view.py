"""What `/v1/organization/usage` says, as a page shows it: by day, by day and model, by job."""

from collections.abc import Sequence
from typing import NamedTuple

from schemas.usage import UsageBucket, UsageResult


class Amount(NamedTuple):
    """What was asked of models."""

    requests: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    def plus(self, result: UsageResult) -> "Amount":
        """Return the sum of this and what one group used."""
        return Amount(
            self.requests + result.num_model_requests,
            self.input_tokens + result.input_tokens,
            self.cached_tokens + (result.input_cached_tokens or 0),
            self.output_tokens + (result.output_tokens or 0),
        )


class ModelDay(NamedTuple):
    """A row of the table."""

    day: int
    """Unix seconds of its beginning."""
    model: str
    amount: Amount


class TrainedJob(NamedTuple):
    """A job, and what it took in the days that are shown."""

    job_id: str
    model: str
    """That it was created with."""
    project_id: str | None
    trained_tokens: int
    device_seconds: float | None


def by_day(*kinds: Sequence[UsageBucket]) -> dict[int, Amount]:
    """Return the sums of all models, oldest day first; days without usage are there."""
    days: dict[int, Amount] = {}
    for bucket in (bucket for buckets in kinds for bucket in buckets):
        amount = days.get(bucket.start_time, Amount())
        for result in bucket.results:
            amount = amount.plus(result)
        days[bucket.start_time] = amount
    return dict(sorted(days.items()))


def by_model(*kinds: Sequence[UsageBucket]) -> list[ModelDay]:
    """Return what each model was asked each day, the newest day first."""
    found: dict[tuple[int, str], Amount] = {}
    for bucket in (bucket for buckets in kinds for bucket in buckets):
        for result in bucket.results:
            key = (-bucket.start_time, result.model or "")
            found[key] = found.get(key, Amount()).plus(result)
    return [ModelDay(-day, model, amount) for (day, model), amount in sorted(found.items())]


def by_job(buckets: Sequence[UsageBucket]) -> list[TrainedJob]:
    """Return what each job took, the latest first."""
    found: dict[str, TrainedJob] = {}
    for bucket in reversed(buckets):
        for result in bucket.results:
            job_id = result.job_id or ""
            before = found.get(job_id)
            found[job_id] = TrainedJob(
                job_id,
                result.model or "",
                result.project_id,
                result.input_tokens + (before.trained_tokens if before else 0),
                (result.device_seconds or 0.0) + ((before and before.device_seconds) or 0.0),
            )
    return list(found.values())
