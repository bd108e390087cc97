"""What a user can do to let other projects ask a tuned model."""

import time

from jobs.keys import Caller
from jobs.services import Services
from jobs.store.paging import Order, cursor_page
from schemas.base import CursorPage
from schemas.checkpoint_permissions import (
    CheckpointPermission,
    CheckpointPermissionCreate,
    CheckpointPermissionDeleted,
)
from schemas.errors import InvalidRequest, ModelNotFound, NotFound


async def create(
    services: Services, caller: Caller, model: str, request: CheckpointPermissionCreate
) -> CursorPage[CheckpointPermission]:
    """Let projects ask a model, from now on; what one was given already it keeps.

    Raises:
        ModelNotFound: The model is not the caller's to share.
        InvalidRequest: A project is not there, or archived; then none was given anything.
    """
    await _check_owned(services, caller, model)
    active = await services.store.projects.active(organization_id=caller.organization_id)
    for place, project_id in enumerate(request.project_ids):
        if project_id not in active:
            raise InvalidRequest(
                f"There is no active project '{project_id}' in this organization.",
                param=f"project_ids[{place}]",
                code="project_not_found",
            )
    granted = await services.store.permissions.grant(
        model, request.project_ids, now=int(time.time())
    )
    return cursor_page(granted, has_more=False)


async def list_permissions(
    services: Services,
    caller: Caller,
    model: str,
    *,
    project_id: str | None,
    limit: int,
    after: str | None,
    order: Order,
) -> CursorPage[CheckpointPermission]:
    """Return one page of a model's permissions.

    Raises:
        ModelNotFound: The model is not the caller's to share.
        InvalidRequest: `after` is no permission of the model's.
    """
    await _check_owned(services, caller, model)
    return await services.store.permissions.page(
        model, project_id=project_id, limit=limit, after=after, order=order
    )


async def delete(
    services: Services, caller: Caller, model: str, permission_id: str
) -> CheckpointPermissionDeleted:
    """Take a permission back; it ends with this call.

    Raises:
        ModelNotFound: The model is not the caller's to share.
        NotFound: It has no such permission.
    """
    await _check_owned(services, caller, model)
    revoked = await services.store.permissions.revoke(permission_id, model=model)
    services.askable.forget(model)
    if not revoked:
        raise NotFound(
            f"No such permission: '{permission_id}'.", param="permission_id", code="not_found"
        )
    return CheckpointPermissionDeleted(id=permission_id)


async def _check_owned(services: Services, caller: Caller, model: str) -> None:
    """Refuse what belongs to another project; an admin's is every model of the organization.

    Raises:
        ModelNotFound: There is none, for this caller.
    """
    models = services.store.models
    if caller.is_admin:
        found = await models.find_in(caller.organization_id, model)
    else:
        found = await models.find(model, project_id=caller.project_id)
    if found is None:
        raise ModelNotFound(model)
