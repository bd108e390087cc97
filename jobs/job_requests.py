"""What a request for a job must be before there is a job: refused in words, or resolved to names of ours."""

import re
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from jobs.hyperparameter_requests import asked_hyperparameters, check_hyperparameters
from jobs.keys import Caller
from jobs.services import Services
from schemas.errors import FileNotFound, InvalidRequest
from schemas.fine_tuning import Hyperparameters, Integration, WandbIntegration
from schemas.fine_tuning_requests import JobCreate
from schemas.ids import TunedModelName

_MAX_SUFFIX: Final = 64


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that can become a job."""

    model: str
    """As the job shows it: an alias resolved."""
    base: str
    init_adapter_id: str | None
    """The adapter to go on from."""
    hyperparameters: Hyperparameters
    suffix: str
    """As it stands in the tuned model's name."""


async def accept(services: Services, caller: Caller, request: JobCreate) -> Accepted:
    """Return what a request asks for.

    Raises:
        InvalidRequest: The model is not offered, a file is not there or not for training, or
            the request asks for what is not supported.
    """
    _refuse_unsupported(request)
    hyperparameters = asked_hyperparameters(request)
    base, init_adapter_id, model = await _starting_point(services, caller, request.model)
    await _check_file(services, caller, request.training_file, param="training_file")
    if request.validation_file is not None:
        await _check_file(services, caller, request.validation_file, param="validation_file")
    await check_hyperparameters(
        hyperparameters,
        request,
        services.catalog.get(base),
        max_rank=services.settings.max_lora_rank,
        goes_on=init_adapter_id is not None,
    )
    return Accepted(model, base, init_adapter_id, hyperparameters, clean_suffix(request.suffix))


def clean_suffix(suffix: str | None) -> str:
    """Return the suffix as it stands in the model's name: lower case, others than `a-z0-9-_` as `-`.

    Raises:
        InvalidRequest: Nothing is left of it.
    """
    if suffix is None:
        return ""
    clean = re.sub(r"[^a-z0-9_-]", "-", suffix.lower())[:_MAX_SUFFIX]
    if not clean.strip("-"):
        raise InvalidRequest(
            f"Invalid 'suffix': '{suffix}' has no letter or digit (a-z, 0-9) to name a model by.",
            param="suffix",
            code="invalid_value",
        )
    return clean


def integrations_of(request: JobCreate, *, job_id: str) -> list[Integration]:
    """Return the integrations as the job shows them; its own id names the run that it reports to."""
    return [
        Integration(
            wandb=WandbIntegration(
                project=asked.wandb.project,
                name=asked.wandb.name,
                entity=asked.wandb.entity,
                tags=asked.wandb.tags or [],
                run_id=job_id,
            )
        )
        for asked in request.integrations or []
    ]


def has_wandb() -> bool:
    """Whether jobs can report to Weights & Biases here."""
    # Found, not imported: it is the worker's to run, and takes a second.
    return find_spec("wandb") is not None


def _refuse_unsupported(request: JobCreate) -> None:
    if request.method is not None and request.method.type != "supervised":
        raise InvalidRequest(
            f"Unsupported value: 'method.type' does not support '{request.method.type}' here. "
            "Supported values are: 'supervised'.",
            param="method.type",
            code="unsupported_value",
        )
    if request.integrations and not has_wandb():
        raise InvalidRequest(
            "Unsupported value: 'integrations' does not support 'wandb' on this server, because the "
            "package 'wandb' is not installed. Its operator can: pip install 'retune[wandb]'. Without "
            "it, leave 'integrations' out; the job's events and result file hold every metric.",
            param="integrations",
            code="unsupported_value",
        )


async def _starting_point(
    services: Services, caller: Caller, name: str
) -> tuple[str, str | None, str]:
    """Return the base, the adapter to go on from, and the name the job shows."""
    if TunedModelName.parse(name) is not None:
        tuned = await services.store.models.find(name, project_id=caller.project_id)
        if tuned is not None:
            services.catalog.get(tuned.base)
            return tuned.base, tuned.adapter_id, name
    base = services.catalog.get(name)
    return base.name, None, base.name


async def _check_file(services: Services, caller: Caller, file_id: str, *, param: str) -> None:
    try:
        file = await services.store.files.get(file_id, project_id=caller.project_id)
    except FileNotFound as exc:
        # 400, not 404, as at OpenAI: the missing thing is not what the URL names.
        raise InvalidRequest(f"invalid {param}: {file_id}", param=param) from exc
    if file.purpose != "fine-tune":
        raise InvalidRequest(
            f"File '{file_id}' was uploaded for '{file.purpose}'. Upload it with purpose 'fine-tune'.",
            param=param,
            code="invalid_file_purpose",
        )
