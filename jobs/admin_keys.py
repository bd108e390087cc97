"""What an administrator can do with the administrators' own keys."""

import time

from jobs.keys import Caller, create_admin_key, end_of, rotate_key
from jobs.services import Services
from jobs.store.keys import NO_PROJECT
from jobs.store.paging import Order, cursor_page
from jobs.store.records import KeyRecord
from schemas.base import CursorPage
from schemas.errors import NotFound
from schemas.organizations import (
    AdminKey,
    AdminKeyCreate,
    AdminKeyDeleted,
    KeyRotate,
    NewAdminKey,
)


async def create(services: Services, caller: Caller, request: AdminKeyCreate) -> NewAdminKey:
    """Make another admin key."""
    value, record = await create_admin_key(
        services.store,
        name=request.name,
        organization_id=caller.organization_id,
        expires_at=end_of(request.expires_in_seconds),
    )
    return NewAdminKey(**dict(_shown(record)), value=value)


async def list_keys(
    services: Services, caller: Caller, *, limit: int, after: str | None, order: Order
) -> CursorPage[AdminKey]:
    """Return one page of the open admin keys.

    Raises:
        InvalidRequest: `after` is none of them.
    """
    records, has_more = await services.store.keys.page(
        organization_id=caller.organization_id,
        project_id=NO_PROJECT,
        limit=limit,
        after=after,
        order=order,
    )
    return cursor_page([_shown(record) for record in records], has_more=has_more)


async def get(services: Services, caller: Caller, key_id: str) -> AdminKey:
    """Return an open admin key.

    Raises:
        NotFound: There is none of that id.
    """
    return _shown(await _get_record(services, caller, key_id))


async def rotate(
    services: Services, caller: Caller, key_id: str, request: KeyRotate
) -> NewAdminKey:
    """Give an admin key a new secret under its old id.

    Raises:
        NotFound: There is none of that id.
    """
    record = await _get_record(services, caller, key_id)
    value, record = await rotate_key(
        services.store, record, old_works_for=request.old_secret_expires_in_seconds
    )
    return NewAdminKey(**dict(_shown(record)), value=value)


async def delete(services: Services, caller: Caller, key_id: str) -> AdminKeyDeleted:
    """Revoke an admin key; it stops within a second, were it the caller's own.

    Raises:
        NotFound: There is none of that id.
    """
    await _get_record(services, caller, key_id)
    await services.store.keys.revoke(key_id, now=int(time.time()), project_id=NO_PROJECT)
    return AdminKeyDeleted(id=key_id)


async def _get_record(services: Services, caller: Caller, key_id: str) -> KeyRecord:
    record = await services.store.keys.find_open(key_id, project_id=NO_PROJECT)
    if record is None or record.organization_id != caller.organization_id:
        raise NotFound(f"No such admin API key: '{key_id}'.", param="key_id", code="not_found")
    return record


def _shown(record: KeyRecord) -> AdminKey:
    return AdminKey(
        id=record.id,
        name=record.name,
        redacted_value=record.hint,
        created_at=record.created_at,
        last_used_at=record.last_used_at,
        expires_at=record.expires_at,
    )
