"""What a request asks of its hyperparameters, wherever it says so, and what of that cannot be had."""

import asyncio
from typing import Final

from pydantic import BaseModel, JsonValue

from jobs.lora_layers import layers_of, short_names, target_modules, unknown_modules
from schemas.bases import BaseModelInfo
from schemas.errors import InvalidRequest
from schemas.fine_tuning import Hyperparameters
from schemas.fine_tuning_requests import HyperparametersRequest, JobCreate

_SHAPE: Final = ("lora_rank", "lora_alpha", "lora_target_modules", "use_rslora")
"""What an adapter has for ever."""


def asked_hyperparameters(request: JobCreate) -> Hyperparameters:
    """Return what was asked for in `method.supervised` or, deprecated, at the top, one by one.

    `"auto"`, null and absent are no wish: the other place may have one.

    Raises:
        InvalidRequest: Both places wish, and not the same.
    """
    nested, top = _wishes(_nested(request)), _wishes(request.hyperparameters)
    for name in nested.keys() & top.keys():
        if nested[name] != top[name]:
            raise InvalidRequest(
                f"Invalid value: 'hyperparameters.{name}' is {top[name]} and "
                f"'method.supervised.hyperparameters.{name}' is {nested[name]}. Send one of them: "
                "'hyperparameters' is deprecated.",
                param=f"hyperparameters.{name}",
                code="invalid_value",
            )
    return Hyperparameters.model_validate(top | nested)


async def check_hyperparameters(
    asked: Hyperparameters,
    request: JobCreate,
    base: BaseModelInfo,
    *,
    max_rank: int,
    goes_on: bool,
) -> None:
    """Refuse what this request cannot have.

    Args:
        asked: What `request` asks for.
        request: Says where it does, and what else there is.
        base: That is to learn.
        max_rank: What the engines are started for.
        goes_on: Whether an earlier adapter is trained further.

    Raises:
        InvalidRequest: A rank over `max_rank`, layers that the base does not have, early stopping
            with nothing to measure on, two sets to validate with, or another shape for an adapter
            that has one.
    """
    if goes_on:
        _refuse_reshaping(asked, request)
    if asked.lora_rank is not None and asked.lora_rank > max_rank:
        param = param_of(request, "lora_rank")
        raise InvalidRequest(
            f"Invalid '{param}': integer above maximum value. Expected a value <= {max_rank}, but got "
            f"{asked.lora_rank} instead. The server's operator can raise it (RETUNE_MAX_LORA_RANK).",
            param=param,
            code="integer_above_max_value",
        )
    _check_validation(asked, request)
    if asked.lora_target_modules is not None:
        await _check_modules(asked, request, base)


def param_of(request: JobCreate, name: str) -> str:
    """Return where a request asks for a hyperparameter, as an error's `param`."""
    is_nested = name in _wishes(_nested(request))
    return f"method.supervised.hyperparameters.{name}" if is_nested else f"hyperparameters.{name}"


def _nested(request: JobCreate) -> HyperparametersRequest | None:
    supervised = request.method.supervised if request.method else None
    return supervised.hyperparameters if supervised else None


def _wishes(place: BaseModel | None) -> dict[str, JsonValue]:
    said = place.model_dump() if place else {}
    return {name: value for name, value in said.items() if value is not None and value != "auto"}


def _refuse_reshaping(asked: Hyperparameters, request: JobCreate) -> None:
    # Refused, not ignored: who asks for rank 64 and is trained with 16 would compare the wrong things.
    for name in _SHAPE:
        if getattr(asked, name) is not None:
            param = param_of(request, name)
            raise InvalidRequest(
                f"Unsupported parameter: '{param}' cannot be chosen for '{request.model}', because its "
                "adapter is trained further and keeps its rank, alpha and layers. Leave it out, or "
                "start from the base model.",
                param=param,
                code="unsupported_parameter",
            )


def _check_validation(asked: Hyperparameters, request: JobCreate) -> None:
    has_file = request.validation_file is not None
    if asked.validation_split is not None and has_file:
        param = param_of(request, "validation_split")
        raise InvalidRequest(
            f"Invalid '{param}': there is a 'validation_file' already. Send one of them.",
            param=param,
            code="invalid_parameter_combination",
        )
    if asked.early_stopping is not None and asked.validation_split is None and not has_file:
        param = param_of(request, "early_stopping")
        split = param.replace("early_stopping", "validation_split")
        raise InvalidRequest(
            f"Invalid '{param}': there is nothing to measure on. Send a 'validation_file', or hold out "
            f"a share of the training file with '{split}'.",
            param=param,
            code="invalid_parameter_combination",
        )


async def _check_modules(asked: Hyperparameters, request: JobCreate, base: BaseModelInfo) -> None:
    layers = await asyncio.to_thread(layers_of, base.directory)
    modules = target_modules(asked.lora_target_modules, layers)
    if not layers or modules is None:
        return  # what cannot be read is the trainer's to tell of
    if modules and not (unknown := unknown_modules(modules, layers)):
        return
    param = param_of(request, "lora_target_modules")
    given = repr(unknown[0]) if modules else repr(asked.lora_target_modules)
    known = ", ".join(f"'{name}'" for name in short_names(layers))
    raise InvalidRequest(
        f"Invalid value: {given}. The linear layers of '{base.name}' are: {known}.",
        param=param,
        code="invalid_value",
    )
