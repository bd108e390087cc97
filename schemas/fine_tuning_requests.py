"""What a client may ask of `/v1/fine_tuning/jobs`: every field of every method, whether we train by it or not."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from schemas.base import Metadata, RequestBody
from schemas.fine_tuning import MAX_SEED, Auto, LoraTargets, LrScheduler
from schemas.graders import Grader

# The bounds belong to the number: on the union, pydantic would compare "auto" with them.
_Epochs = Annotated[int, Field(ge=1, le=50)]
_BatchSize = Annotated[int, Field(ge=1, le=256)]
_Multiplier = Annotated[float, Field(gt=0)]
_Beta = Annotated[float, Field(gt=0, le=2)]
_ComputeMultiplier = Annotated[float, Field(gt=0.00001, le=10)]
_Count = Annotated[int, Field(ge=1)]
_LoraRank = Annotated[int, Field(ge=1, le=1024)]
_LoraAlpha = Annotated[int, Field(ge=1, le=4096)]
_ShareBelowOne = Annotated[float, Field(ge=0, lt=1)]
_Share = Annotated[float, Field(ge=0, le=1)]
_ModuleName = Annotated[str, Field(min_length=1, max_length=128)]
_ModuleNames = Annotated[list[_ModuleName], Field(min_length=1, max_length=64)]
_LoraplusRatio = Annotated[float, Field(ge=1, le=128)]
_GradNorm = Annotated[float, Field(ge=0, le=1000)]
_Split = Annotated[float, Field(gt=0, le=0.5)]
_WandbName = Annotated[str, Field(min_length=1, max_length=128)]
_WandbTag = Annotated[str, Field(min_length=1, max_length=64)]


class NumbersRequest(RequestBody):
    """OpenAI's own, of every method; null and absent mean `"auto"`."""

    n_epochs: _Epochs | Auto | None = None
    batch_size: _BatchSize | Auto | None = None
    learning_rate_multiplier: _Multiplier | Auto | None = None


class EarlyStoppingRequest(RequestBody):
    """When to stop before the last epoch."""

    patience: int = Field(default=3, ge=1, le=100)
    """Measurements of the whole validation file in a row that may bring nothing."""
    min_gain: float = Field(default=0.0, ge=0, le=10)
    """Nats by which the loss must fall to count as a gain."""
    metric: Literal["full_valid_loss"] = "full_valid_loss"
    """What is watched."""


class HyperparametersRequest(NumbersRequest):
    """What a client may ask for supervised training; null and absent mean `"auto"`.

    The extensions have the names of PEFT and of transformers' `TrainingArguments`, where these have one.
    """

    lora_rank: _LoraRank | Auto | None = None
    """Ours: rank of the adapter's matrices, up to the server's `RETUNE_MAX_LORA_RANK`. Default: 16."""
    lora_alpha: _LoraAlpha | Auto | None = None
    """Ours: the adapter counts alpha / rank times. Default: twice the rank; 8 with `use_rslora`."""
    lora_dropout: _ShareBelowOne | Auto | None = None
    """Ours: share of an adapter's inputs that is left out at random while training. Default: 0."""
    lora_target_modules: LoraTargets | Auto | _ModuleNames | None = None
    """Ours: which linear layers get an adapter, in a word or by name. Default: `all-linear`."""
    use_rslora: bool | Auto | None = None
    """Ours: scale by alpha / the root of rank (rank-stabilized LoRA). Default: false."""
    loraplus_lr_ratio: _LoraplusRatio | Auto | None = None
    """Ours: how much faster than A the adapter's B learns (LoRA+). Default: 1."""
    lr_scheduler_type: LrScheduler | Auto | None = None
    """Ours: how the learning rate falls after its warm-up. Default: `linear`, to 0."""
    warmup_ratio: _Share | Auto | None = None
    """Ours: share of the steps in which the learning rate rises. Default: 0.05."""
    weight_decay: _Share | Auto | None = None
    """Ours: AdamW's, on the adapter. Default: 0."""
    max_grad_norm: _GradNorm | Auto | None = None
    """Ours: longer gradients are cut to this length; 0: never. Default: 1."""
    label_smoothing_factor: _ShareBelowOne | Auto | None = None
    """Ours: share of the probability that the loss wants spread over all tokens. Default: 0."""
    early_stopping: EarlyStoppingRequest | Auto | None = None
    """Ours: stop before the last epoch, when validation gains nothing any more. Default: do not."""
    validation_split: _Split | Auto | None = None
    """Ours: hold out this share of the training file to validate with. Default: none of it."""


class SupervisedRequest(RequestBody):
    """`method.supervised`."""

    hyperparameters: HyperparametersRequest | None = None


class DpoHyperparametersRequest(NumbersRequest):
    """Those of `method.dpo`."""

    beta: _Beta | Auto | None = None


class DpoRequest(RequestBody):
    """`method.dpo`."""

    hyperparameters: DpoHyperparametersRequest | None = None


class ReinforcementHyperparametersRequest(NumbersRequest):
    """Those of `method.reinforcement`."""

    compute_multiplier: _ComputeMultiplier | Auto | None = None
    eval_interval: _Count | Auto | None = None
    eval_samples: _Count | Auto | None = None
    reasoning_effort: Literal["default", "low", "medium", "high"] | None = None


class ReinforcementRequest(RequestBody):
    """`method.reinforcement`."""

    grader: Grader
    hyperparameters: ReinforcementHyperparametersRequest | None = None
    response_format: dict[str, JsonValue] | None = None
    """Of OpenAI's guide; not in its specification."""


class MethodRequest(RequestBody):
    """`method`: each object is checked, and only the one named by `type` counts, as at OpenAI."""

    type: Literal["supervised", "dpo", "reinforcement"]
    supervised: SupervisedRequest | None = None
    dpo: DpoRequest | None = None
    reinforcement: ReinforcementRequest | None = None


class WandbRequest(RequestBody):
    """Where a job's metrics are mirrored to; the bounds are Weights & Biases' own."""

    project: _WandbName
    name: _WandbName | None = None
    entity: _WandbName | None = None
    tags: list[_WandbTag] | None = Field(default=None, max_length=32)


class IntegrationRequest(RequestBody):
    """A service that a job reports to."""

    type: Literal["wandb"]
    wandb: WandbRequest


class JobCreate(RequestBody):
    """The body of `POST /v1/fine_tuning/jobs`."""

    model: str = Field(min_length=1, max_length=512)
    training_file: str = Field(min_length=1, max_length=512)
    validation_file: str | None = Field(default=None, min_length=1, max_length=512)
    hyperparameters: HyperparametersRequest | None = None
    """Deprecated by OpenAI, still sent by many clients: the same as `method.supervised`'s."""
    method: MethodRequest | None = None
    suffix: str | None = Field(default=None, min_length=1, max_length=64)
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    integrations: list[IntegrationRequest] | None = Field(default=None, max_length=5)
    metadata: Metadata | None = None
    dry_run: bool = False
    """Ours: check and estimate, and make no job. An SDK sends it as `extra_body={"dry_run": True}`."""
