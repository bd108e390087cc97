"""What a dry run says of a job that was not made: our extension of `POST /v1/fine_tuning/jobs`."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from schemas.base import Schema
from schemas.fine_tuning import Hyperparameters, JobError


class FileQuestion(Schema):
    """A file to look at."""

    id: str
    path: Path
    role: Literal["training", "validation"]


class DryRunQuestion(Schema):
    """What the process that looks at files is asked."""

    base_dir: Path
    context_length: int
    files: list[FileQuestion]


class LineProblem(Schema):
    """A line that is no example."""

    line: int
    """From 1."""
    example: int
    """From 1; 0 where none has come yet."""
    message: str


class LengthCount(Schema):
    """How many examples are of about one length."""

    up_to: int
    """Tokens, a power of two; examples of up to half as many are counted before."""
    n_examples: int


class FileFindings(Schema):
    """What a file holds. Where lines are no examples, the others are only counted."""

    id: str
    n_examples: int
    tokens: int
    """Of all examples, each cut at the context length, per epoch."""
    trained_tokens: int
    """Those that are learned from, per epoch."""
    longest_example: int
    """Tokens, cut at the context length."""
    lengths: list[LengthCount] = Field(default_factory=list)
    """From short to long; empty where lines are no examples."""
    n_truncated: int
    n_untrained: int
    """Examples without a token that is learned from."""
    warnings: list[str]
    problems: list[LineProblem]
    """The first 20."""
    error: JobError | None
    """What the job's error would say; null where the file is good."""


class DryRunAnswer(Schema):
    """What the process answers: findings in the order of the question."""

    files: list[FileFindings]


class Estimate(Schema):
    """A number that was measured, or none, and where it is from."""

    value: float | None
    basis: str


class DryRun(Schema):
    """What a job would do. Nothing was recorded, and nothing was trained.

    Names that a job has too mean the same: SDKs take the answer for a job.
    """

    object: Literal["fine_tuning.job.dry_run"] = "fine_tuning.job.dry_run"
    model: str
    """The base or tuned model, an alias resolved."""
    would_train: bool
    error: JobError | None
    """Why it would fail."""
    training_file: str
    validation_file: str | None
    training: FileFindings
    validation: FileFindings | None
    hyperparameters: Hyperparameters
    """Numbers, where the job would train; else as asked."""
    learning_rate: float | None
    """The peak, already multiplied."""
    reasons: list[str]
    """Why these numbers."""
    warnings: list[str]
    """What may come out worse than expected."""
    n_steps: int | None
    trained_tokens: int | None
    """What the job would show: tokens of all epochs."""
    seconds: Estimate
    """Of training alone, without loading and proving the model."""
    memory_bytes: Estimate
    """The most that the trainer holds: on an accelerator its memory, else the process's."""
