"""Models, as `/v1/models` shows them."""

from datetime import date
from typing import Literal

from schemas.base import Schema


class Model(Schema):
    """A base or tuned model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds."""
    owned_by: str
    shutdown_date: date | None = None
    """When it will answer no more, where the operator has said so of its base."""


class ModelList(Schema):
    """The answer to `GET /v1/models`: never paged."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(Schema):
    """The answer to `DELETE /v1/models/{model}`."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
