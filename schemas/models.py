"""Models, as `/v1/models` shows them."""

from typing import Literal

from schemas.base import Schema


class Model(Schema):
    """A base or tuned model."""

    id: str
    object: Literal["model"] = "model"
    created: int
    """Unix seconds."""
    owned_by: str


class ModelList(Schema):
    """The answer to `GET /v1/models`: never paged."""

    object: Literal["list"] = "list"
    data: list[Model]


class ModelDeleted(Schema):
    """The answer to `DELETE /v1/models/{model}`."""

    id: str
    object: Literal["model"] = "model"
    deleted: Literal[True] = True
