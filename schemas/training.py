"""What the worker and the trainer say to each other: one JSON value a line."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter

from schemas.base import Schema
from schemas.fine_tuning import EarlyStopping, EventLevel, LrScheduler

DIVERGED: Final = "diverged"
"""`TrainingFailed.code` of a run that made its model worse, or whose loss is no number any more."""


class LoraSpec(Schema):
    """The shape of the adapter."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: tuple[str, ...] | None = None
    """Ends of the names of the layers that get one; None: every linear layer but the head."""
    use_rslora: bool = False


class OptimizerSpec(Schema):
    """How the adapter learns: AdamW, and what it is told at each step."""

    lr_scheduler_type: LrScheduler = "linear"
    warmup_ratio: float = 0.05
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    """0: gradients are never cut."""
    label_smoothing_factor: float = 0.0
    loraplus_lr_ratio: float = 1.0
    """The learning rate of B over that of A."""


class TrainingSpec(Schema):
    """Everything a run needs, resolved: no `"auto"`, no ids of ours, only paths and numbers."""

    base_dir: Path
    """A transformers model directory: config, safetensors weights, tokenizer, chat template."""
    base_name: str = ""
    """Its public name: what `adapter_config.json` will call it."""
    base_digest: str = ""
    """`BaseModelInfo.digest`; copied into the proof."""
    training_path: Path
    """JSON Lines that `jobs.dataset` has passed."""
    validation_path: Path | None = None
    init_adapter_dir: Path | None = None
    """An earlier adapter to go on from; its shape wins over `lora`, but for the dropout."""
    work_dir: Path
    """The run's own: resume points and adapters. A run that finds resume points goes on from the newest whole one."""
    n_epochs: int
    batch_size: int
    """Examples in each optimizer step."""
    learning_rate: float
    """The peak, already multiplied."""
    seed: int
    context_length: int
    """Tokens; what is longer is cut at the end."""
    lora: LoraSpec = LoraSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    early_stopping: EarlyStopping | None = None
    n_threads: int = 1
    """Of each process."""
    n_processes: int = 1
    """That share the documents of each step, one on each accelerator."""
    is_sharded: bool = False
    """Whether the base is spread over the processes, because it does not fit on one device."""
    reported_step: int = 0
    """The last step that is recorded already; a run that goes on tells again of those after it."""
    resume_every_seconds: float = 30.0
    """How much training a kill may cost."""


class WarmUp(Schema):
    """What a trainer may do before it has a job: all that follows from the base and the machine."""

    base_dir: Path
    base_digest: str
    n_threads: int

    def fits(self, spec: TrainingSpec) -> bool:
        """Whether a trainer that did this may train what the spec says."""
        return (self.base_dir, self.base_digest, self.n_threads) == (
            spec.base_dir,
            spec.base_digest,
            spec.n_threads,
        )


class HandOver(Schema):
    """The job that a trainer waited for."""

    spec: TrainingSpec
    log_path: Path
    """Takes its standard error from now on."""


class TrainingStarted(Schema):
    """The base is loaded, the rows are counted; the first step comes next."""

    kind: Literal["started"] = "started"
    total_steps: int
    resumed_at_step: int
    """0 where it starts afresh."""
    n_examples: int
    n_trainable_parameters: int
    device: str
    """`cpu` or the accelerator's name."""


class StepDone(Schema):
    """An optimizer step was taken. Losses are means over trained tokens, in nats."""

    kind: Literal["step"] = "step"
    step: int
    """From 1."""
    total_steps: int
    train_loss: float
    train_mean_token_accuracy: float
    learning_rate: float
    grad_norm: float
    """Before it was cut to `max_grad_norm`."""
    grad_clipped: bool = False
    """Whether it was."""
    tokens: int
    """Tokens of this step's examples, trained or not."""
    seconds: float
    """Wall time of the step itself."""
    valid_loss: float | None = None
    """On a small batch, every tenth step and the last."""
    valid_mean_token_accuracy: float | None = None
    full_valid_loss: float | None = None
    """On the whole validation file, at the end of an epoch and maybe between."""
    full_valid_mean_token_accuracy: float | None = None


class CheckpointSaved(Schema):
    """An adapter is on disk, whole: one at the end of each epoch."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int
    epoch: int
    """From 1."""
    adapter_dir: Path
    """Holds `adapter_config.json`, `adapter_model.safetensors` and `proof.json` (`schemas.proof`)."""


class BestSaved(Schema):
    """An adapter is on disk that is better than all before it, by validation loss, and no worse than no training.

    The last one told is what there is to show where training ends badly.
    """

    kind: Literal["best"] = "best"
    step: int
    adapter_dir: Path
    """As of a `CheckpointSaved`."""
    valid_loss: float
    """On the whole validation file, in nats."""


class AdapterSaved(Schema):
    """The final adapter is on disk, whole but for its proof: an engine may load it while that is taken.

    Told where it is known before the end, once for each trainer; `ModelChosen` decides.
    """

    kind: Literal["adapter"] = "adapter"
    step: int
    adapter_dir: Path
    """Will be that of a `CheckpointSaved`."""


class Noted(Schema):
    """Something else that the user should know, told as an event of the job."""

    kind: Literal["noted"] = "noted"
    step: int
    """That was being taken, or was the last."""
    key: str
    """What it is told once for: `memory-512`, `early-stop`."""
    message: str
    level: EventLevel = "info"


class ModelChosen(Schema):
    """Training is over, and this is its model: the best by validation loss, else the last."""

    kind: Literal["chosen"] = "chosen"
    step: int
    adapter_dir: Path
    """As of a `CheckpointSaved`."""
    message: str | None
    """Why this one, for the user; None where there was nothing to choose by."""


class TrainingDone(Schema):
    """All is trained; comes right after `ModelChosen`."""

    kind: Literal["done"] = "done"
    trained_tokens: int
    """Tokens of the (cut) examples, each time that they were read: what OpenAI bills."""
    loss_tokens: int
    """Those that carried loss."""
    peak_memory_bytes: int | None = None
    """The most that this process held: on an accelerator its memory, else its resident set."""


class TrainingFailed(Schema):
    """Training cannot go on; `message` is for the user."""

    kind: Literal["failed"] = "failed"
    code: str
    """`out_of_memory`, `diverged`, `base_model_unusable`, … as a job's error shows it."""
    message: str


TrainingEvent = Annotated[
    TrainingStarted
    | StepDone
    | AdapterSaved
    | CheckpointSaved
    | BestSaved
    | Noted
    | ModelChosen
    | TrainingDone
    | TrainingFailed,
    Field(discriminator="kind"),
]
training_event: TypeAdapter[
    TrainingStarted
    | StepDone
    | AdapterSaved
    | CheckpointSaved
    | BestSaved
    | Noted
    | ModelChosen
    | TrainingDone
    | TrainingFailed
] = TypeAdapter(TrainingEvent)
"""Reads one line of the trainer's standard output."""
