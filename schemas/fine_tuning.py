"""Fine-tuning jobs, as `/v1/fine_tuning/jobs` shows them."""

from typing import Any, Literal

from pydantic import Field

from schemas.base import Schema

JobStatus = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]
Auto = Literal["auto"]

MAX_SEED = 2**31 - 1


class Hyperparameters(Schema):
    """What a job shows: `"auto"` until training starts, then the number that was used."""

    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    """Examples in each optimizer step."""
    learning_rate_multiplier: float | Auto = "auto"


class JobError(Schema):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class Supervised(Schema):
    """`method.supervised` of a job."""

    hyperparameters: Hyperparameters


class Method(Schema):
    """How a job trains."""

    type: Literal["supervised"] = "supervised"
    supervised: Supervised


class WandbIntegration(Schema):
    """The run of Weights & Biases that mirrors a job's metrics. The key is the operator's, and never shown."""

    project: str
    name: str | None = None
    """None: the job's id."""
    entity: str | None = None
    """None: the key's own."""
    tags: list[str] = Field(default_factory=list)
    """Beside those that every run gets (`jobs.wandb_mirror`)."""
    run_id: str
    """The job's id, as at OpenAI."""


class Integration(Schema):
    """A service that a job reports to."""

    type: Literal["wandb"] = "wandb"
    wandb: WandbIntegration


class Job(Schema):
    """A fine-tuning job. `status` changes only through `jobs.lifecycle`."""

    id: str
    object: Literal["fine_tuning.job"] = "fine_tuning.job"
    created_at: int
    """Unix seconds, as are all times here."""
    finished_at: int | None = None
    model: str
    """The base, resolved from an alias, or the tuned model that is trained further."""
    fine_tuned_model: str | None = None
    organization_id: str
    status: JobStatus
    training_file: str
    validation_file: str | None = None
    hyperparameters: Hyperparameters
    method: Method
    trained_tokens: int | None = None
    error: JobError | None = None
    result_files: list[str] = Field(default_factory=list)
    seed: int
    estimated_finish: int | None = None
    integrations: list[Integration] = Field(default_factory=list)
    metadata: dict[str, str] | None = None
    user_provided_suffix: str | None = None


class ModelLimits(Schema):
    """How many jobs a project may have on a base; not limited is 2,147,483,647, as in rate limits."""

    max_total_jobs: int
    max_concurrent_jobs: int
    """Of all bases together."""
    active_jobs: int
    """Of this base: being validated, queued or running."""


EventLevel = Literal["info", "warn", "error"]


class Event(Schema):
    """A line of a job's log."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: EventLevel = "info"
    message: str
    type: Literal["message", "metrics"] = "message"
    data: dict[str, Any] = Field(default_factory=dict)


class CheckpointMetrics(Schema):
    """What was measured at a checkpoint; the validation ones are absent without a validation file."""

    step: int
    train_loss: float | None = None
    train_mean_token_accuracy: float | None = None
    valid_loss: float | None = None
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    full_valid_mean_token_accuracy: float | None = None


class Checkpoint(Schema):
    """A model saved on the way; it can be asked like any other."""

    id: str
    object: Literal["fine_tuning.job.checkpoint"] = "fine_tuning.job.checkpoint"
    created_at: int
    fine_tuned_model_checkpoint: str
    fine_tuning_job_id: str
    step_number: int
    metrics: dict[str, float]
    """`CheckpointMetrics` without its nulls: OpenAI types each as a number."""
