"""Fine-tuning jobs, as `/v1/fine_tuning/jobs` shows them."""

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field

from schemas.base import Page, Schema
from schemas.completions import AbsentIfNone
from schemas.report import JobReport

JobStatus = Literal[
    "validating_files", "queued", "running", "paused", "succeeded", "failed", "cancelled"
]
Auto = Literal["auto"]
LrScheduler = Literal["linear", "cosine", "constant"]
LoraTargets = Literal["all-linear", "attention", "mlp"]

_T = TypeVar("_T")

MAX_SEED = 2**31 - 1


class EarlyStopping(Schema):
    """When a job stops before its last epoch."""

    patience: int
    """Measurements of the whole validation file in a row that may bring nothing."""
    min_gain: float
    """Nats by which the loss must fall to count as a gain."""
    metric: Literal["full_valid_loss"] = "full_valid_loss"


# What nobody asked for is not there: OpenAI's clients see OpenAI's three.
_Wish = Annotated[_T | None, Field(exclude_if=lambda wish: wish is None)]


class Hyperparameters(Schema):
    """What a job shows: `"auto"` until training starts, then the number that was used.

    Of the extensions a job shows those that were asked for, a dry run all.
    """

    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    """Examples in each optimizer step."""
    learning_rate_multiplier: float | Auto = "auto"
    lora_rank: _Wish[int] = None
    """Ours: rank of the adapter's matrices."""
    lora_alpha: _Wish[int] = None
    """Ours: the adapter counts alpha / rank times; with `use_rslora` alpha / the root of rank."""
    lora_dropout: _Wish[float] = None
    """Ours: share of an adapter's inputs that is left out at random while training."""
    lora_target_modules: _Wish[LoraTargets | list[str]] = None
    """Ours: which linear layers get an adapter."""
    use_rslora: _Wish[bool] = None
    """Ours: rank-stabilized LoRA."""
    loraplus_lr_ratio: _Wish[float] = None
    """Ours: how much faster than A the adapter's B learns (LoRA+)."""
    lr_scheduler_type: _Wish[LrScheduler] = None
    """Ours: how the learning rate falls after its warm-up."""
    warmup_ratio: _Wish[float] = None
    """Ours: share of the steps in which the learning rate rises."""
    weight_decay: _Wish[float] = None
    """Ours: AdamW's, on the adapter."""
    max_grad_norm: _Wish[float] = None
    """Ours: longer gradients are cut to this length; 0: never."""
    label_smoothing_factor: _Wish[float] = None
    """Ours: share of the probability that the loss wants spread over all tokens."""
    early_stopping: _Wish[EarlyStopping] = None
    """Ours: when to stop before the last epoch."""
    validation_split: _Wish[float] = None
    """Ours: share of the training file that is held out to validate with."""


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
    queue_position: AbsentIfNone[int] = None
    """Ours: how many jobs workers take first; there where it was asked for, while the job is queued."""
    report: AbsentIfNone[JobReport] = None
    """Ours: how the tuned model does next to its base; there once the job has succeeded."""


class JobPage(Page[Job]):
    """One page of the jobs of a project."""

    counts: AbsentIfNone[dict[JobStatus, int]] = None
    """Ours: how many jobs there are by status, whichever are listed; there where it was asked for."""


class ModelLimits(Schema):
    """How many jobs a project may have on a base; not limited is 2,147,483,647, as in rate limits."""

    max_total_jobs: int
    max_concurrent_jobs: int
    """Of all bases together."""
    active_jobs: int
    """Of this base: being validated, queued or running."""


EventLevel = Literal["info", "warn", "error"]
EventKind = Literal["message", "metrics"]


class Event(Schema):
    """A line of a job's log."""

    id: str
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: EventLevel = "info"
    message: str
    type: EventKind = "message"
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
