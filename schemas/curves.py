"""A job's numbers over its steps, as `/v1/fine_tuning/jobs/{job_id}/metrics` shows them: ours, OpenAI has events only."""

from typing import Literal

from schemas.base import Schema

MetricName = Literal[
    "train_loss",
    "valid_loss",
    "full_valid_loss",
    "train_mean_token_accuracy",
    "valid_mean_token_accuracy",
    "full_valid_mean_token_accuracy",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
]


class Curve(Schema):
    """One number over the steps at which it was measured."""

    steps: list[int]
    """Ascending."""
    values: list[float]
    """One for each step."""


class Curves(Schema):
    """What a job measured.

    A curve of more points than were asked for keeps its first, its last, and the lowest and highest of each
    stretch between, so that no spike is lost.
    """

    object: Literal["fine_tuning.job.metrics"] = "fine_tuning.job.metrics"
    job_id: str
    curves: dict[MetricName, Curve]
    """Without those that were not measured."""
    n_steps: int
    """That were told so far."""
    total_steps: int | None
    """That the job will have; null before the first."""
    last_event_id: str | None
    """Of the newest event that is counted here."""
