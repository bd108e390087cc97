"""`/v1/fine_tuning/checkpoints/{model}/permissions`."""

from typing import Literal

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

from jobs import checkpoint_permissions
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import CursorPage, Schema
from schemas.checkpoint_permissions import (
    CheckpointPermission,
    CheckpointPermissionCreate,
    CheckpointPermissionDeleted,
)


class ListPermissions(Schema):
    """The query of a list of permissions."""

    project_id: str | None = None
    after: str | None = None
    limit: int = Field(default=10, ge=0, le=100)
    order: Literal["ascending", "descending"] = "descending"


class CheckpointPermissions(Controller):
    """Let other projects ask a model. Its name's slashes come as `%2F`."""

    path = "/fine_tuning/checkpoints/{model:str}/permissions"

    @post(status_code=200)
    async def create(
        self,
        model: FromPath[str],
        asked: NamedDependency[CheckpointPermissionCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[CheckpointPermission]:
        return await checkpoint_permissions.create(services, caller, model, asked)

    @get()
    async def list_all(
        self,
        model: FromPath[str],
        params: NamedDependency[ListPermissions],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[CheckpointPermission]:
        return await checkpoint_permissions.list_permissions(
            services,
            caller,
            model,
            project_id=params.project_id,
            limit=params.limit,
            after=params.after,
            order="asc" if params.order == "ascending" else "desc",
        )

    @delete("/{permission_id:str}", status_code=200)
    async def remove(
        self,
        model: FromPath[str],
        permission_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CheckpointPermissionDeleted:
        return await checkpoint_permissions.delete(services, caller, model, permission_id)
