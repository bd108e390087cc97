"""Permissions to ask another project's model, as `/v1/fine_tuning/checkpoints/{model}/permissions` shows them."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import RequestBody, Schema


class CheckpointPermission(Schema):
    """Lets another project ask a tuned model, and nothing else."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    created_at: int
    project_id: str


class CheckpointPermissionCreate(RequestBody):
    """The body of `POST /v1/fine_tuning/checkpoints/{model}/permissions`."""

    project_ids: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        min_length=1, max_length=100
    )


class CheckpointPermissionDeleted(Schema):
    """The answer to the deletion of a permission."""

    id: str
    object: Literal["checkpoint.permission"] = "checkpoint.permission"
    deleted: Literal[True] = True
