"""What an administrator can do with a project's keys."""

import time

from jobs import projects
from jobs.keys import Caller, create_key, end_of, rotate_key
from jobs.services import Services
from jobs.store.paging import cursor_page
from jobs.store.records import KeyRecord, ServiceAccountRecord
from schemas.base import CursorPage
from schemas.errors import InvalidRequest, NotFound
from schemas.organizations import (
    KeyDeleted,
    KeyRotate,
    NewProjectKey,
    OwningServiceAccount,
    ProjectKey,
    ProjectKeyCreate,
    ProjectKeyUpdate,
    ServiceAccountOwner,
    UserOwner,
)


async def create(
    services: Services, caller: Caller, project_id: str, request: ProjectKeyCreate
) -> NewProjectKey:
    """Make a key of a project.

    Raises:
        NotFound: There is no such project.
        InvalidRequest: It is archived.
    """
    project = await projects.get_active(services, caller, project_id)
    value, record = await create_key(
        services.store,
        name=request.name,
        organization_id=project.organization_id,
        project_id=project.id,
        scopes=request.scopes,
        expires_at=end_of(request.expires_in_seconds),
    )
    return NewProjectKey(**dict(_project_key(record, None)), value=value)


async def list_keys(
    services: Services, caller: Caller, project_id: str, *, limit: int, after: str | None
) -> CursorPage[ProjectKey]:
    """Return one page of a project's open keys, newest first, its service accounts' too.

    Raises:
        NotFound: There is no such project.
        InvalidRequest: `after` is no open key of the project's.
    """
    await projects.get_record(services, caller, project_id)
    records, has_more = await services.store.keys.page(
        organization_id=caller.organization_id,
        project_id=project_id,
        limit=limit,
        after=after,
        order="desc",
    )
    accounts = {
        account.id: account
        for account in await services.store.projects.service_accounts(project_id)
    }
    data = [
        _project_key(record, accounts.get(record.service_account_id or "")) for record in records
    ]
    return cursor_page(data, has_more=has_more)


async def get(services: Services, caller: Caller, project_id: str, key_id: str) -> ProjectKey:
    """Return an open key of a project's.

    Raises:
        NotFound: There is no such project or key.
    """
    return await _shown(services, await _get_record(services, caller, project_id, key_id))


async def update(
    services: Services, caller: Caller, project_id: str, key_id: str, request: ProjectKeyUpdate
) -> ProjectKey:
    """Change what a key is restricted to, or when it ends; it holds within a second.

    Raises:
        NotFound: There is no such project or key.
        InvalidRequest: Nothing is asked for, or the key is over already.
    """
    record = await _get_record(services, caller, project_id, key_id)
    if not request.changes_scopes and not request.changes_expiry:
        raise InvalidRequest("Send 'scopes' or 'expires_in_seconds', or both.")
    if record.expires_at is not None and record.expires_at <= time.time():
        raise InvalidRequest("An expired key cannot be updated. Make a new one.")
    if request.changes_scopes:
        record = record.model_copy(update={"scopes": tuple(request.scopes)})
    if request.changes_expiry:
        record = record.model_copy(update={"expires_at": end_of(request.expires_in_seconds)})
    await services.store.keys.update(record)
    return await _shown(services, record)


async def rotate(
    services: Services, caller: Caller, project_id: str, key_id: str, request: KeyRotate
) -> NewProjectKey:
    """Give a key a new secret under its old id.

    Raises:
        NotFound: There is no such project or key.
    """
    record = await _get_record(services, caller, project_id, key_id)
    value, record = await rotate_key(
        services.store, record, old_works_for=request.old_secret_expires_in_seconds
    )
    return NewProjectKey(**dict(await _shown(services, record)), value=value)


async def delete(services: Services, caller: Caller, project_id: str, key_id: str) -> KeyDeleted:
    """Revoke a project's key; it stops within a second.

    Raises:
        NotFound: There is no such project or key.
    """
    await _get_record(services, caller, project_id, key_id)
    await services.store.keys.revoke(key_id, now=int(time.time()), project_id=project_id)
    return KeyDeleted(id=key_id)


async def _get_record(
    services: Services, caller: Caller, project_id: str, key_id: str
) -> KeyRecord:
    await projects.get_record(services, caller, project_id)
    record = await services.store.keys.find_open(key_id, project_id=project_id)
    if record is None:
        raise NotFound(f"No such API key: '{key_id}'.", param="api_key_id", code="not_found")
    return record


async def _shown(services: Services, record: KeyRecord) -> ProjectKey:
    account = None
    if record.service_account_id is not None:
        account = await services.store.projects.find_service_account(
            record.service_account_id, project_id=record.project_id
        )
    return _project_key(record, account)


def _project_key(record: KeyRecord, account: ServiceAccountRecord | None) -> ProjectKey:
    owner: UserOwner | ServiceAccountOwner = UserOwner()
    if account is not None:
        owner = ServiceAccountOwner(
            service_account=OwningServiceAccount(
                id=account.id,
                created_at=account.created_at,
                name=account.name,
                role=account.role,
            )
        )
    return ProjectKey(
        id=record.id,
        name=record.name,
        redacted_value=record.hint,
        created_at=record.created_at,
        last_used_at=record.last_used_at,
        expires_at=record.expires_at,
        owner=owner,
        scopes=list(record.scopes),
    )
