"""What a client may ask of `/v1/fine_tuning/jobs`: every field of every method, whether we train by it or not."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from schemas.base import Metadata, RequestBody
from schemas.fine_tuning import MAX_SEED, Auto
from schemas.graders import Grader

# The bounds belong to the number: on the union, pydantic would compare "auto" with them.
_Epochs = Annotated[int, Field(ge=1, le=50)]
_BatchSize = Annotated[int, Field(ge=1, le=256)]
_Multiplier = Annotated[float, Field(gt=0)]
_Beta = Annotated[float, Field(gt=0, le=2)]
_ComputeMultiplier = Annotated[float, Field(gt=0.00001, le=10)]
_Count = Annotated[int, Field(ge=1)]
_WandbName = Annotated[str, Field(min_length=1, max_length=128)]
_WandbTag = Annotated[str, Field(min_length=1, max_length=64)]


class HyperparametersRequest(RequestBody):
    """What a client may ask for; null and absent mean `"auto"`."""

    n_epochs: _Epochs | Auto | None = None
    batch_size: _BatchSize | Auto | None = None
    learning_rate_multiplier: _Multiplier | Auto | None = None


class SupervisedRequest(RequestBody):
    """`method.supervised`."""

    hyperparameters: HyperparametersRequest | None = None


class DpoHyperparametersRequest(HyperparametersRequest):
    """Those of `method.dpo`."""

    beta: _Beta | Auto | None = None


class DpoRequest(RequestBody):
    """`method.dpo`."""

    hyperparameters: DpoHyperparametersRequest | None = None


class ReinforcementHyperparametersRequest(HyperparametersRequest):
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
