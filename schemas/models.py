"""Models, as `/v1/models` shows them."""

from datetime import date
from typing import Literal

from schemas.base import Schema
from schemas.bases import Task
from schemas.completions import AbsentIfNone

EngineCondition = Literal["stopped", "starting", "ready", "failed", "unreachable"]
"""Of a base's engine. A stopped one starts with the first question; an unreachable one should answer and does not."""


class ModelDetails(Schema):
    """What a model is made of, and whether it is at hand."""

    task: Task | None
    """None where its base is not offered any more."""
    base: str
    """Its own name where it is one."""
    context_length: int | None
    job: str | None = None
    """That trained it."""
    step: int | None = None
    """Of the job, where it is a checkpoint."""
    engine: EngineCondition
    engine_message: str = ""
    """Why it failed."""
    is_loaded: bool | None = None
    """Whether the engine holds its adapter just now; null: nobody can tell. A base is loaded with its engine."""
    n_shared: int | None = None
    """How many other projects may ask it; null where the key may not know."""


class Model(Schema):
    """A base or tuned model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds."""
    owned_by: str
    shutdown_date: date | None = None
    """When it will answer no more, where the operator has said so of its base."""
    details: AbsentIfNone[ModelDetails] = None
    """An extension, where the list is asked `with_details`."""


class ModelList(Schema):
    """The answer to `GET /v1/models`: never paged."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(Schema):
    """The answer to `DELETE /v1/models/{model}`."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
