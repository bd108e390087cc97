"""What an administrator can do with a project's service accounts: programs that have keys of their own."""

import time

from jobs import projects
from jobs.keys import Caller, create_key, end_of, key_digest, mint, new_key_record
from jobs.services import Services
from jobs.store.paging import cursor_page
from jobs.store.records import KeyRecord, ServiceAccountRecord
from schemas.base import CursorPage
from schemas.errors import InvalidRequest, NotFound
from schemas.ids import new_id
from schemas.organizations import (
    NewServiceAccount,
    ServiceAccount,
    ServiceAccountCreate,
    ServiceAccountDeleted,
    ServiceAccountKey,
    ServiceAccountKeyCreate,
    ServiceAccountUpdate,
)


async def create(
    services: Services, caller: Caller, project_id: str, request: ServiceAccountCreate
) -> NewServiceAccount:
    """Make a service account and, unless it is not wanted, its first key.

    Raises:
        NotFound: There is no such project.
        InvalidRequest: It is archived, or an end is asked for a key that is not wanted.
    """
    project = await projects.get_active(services, caller, project_id)
    has_key = not request.create_service_account_only
    if not has_key and request.expires_in_seconds is not None:
        raise InvalidRequest(
            "'expires_in_seconds' is about the first key; leave it out with "
            "'create_service_account_only'.",
            param="expires_in_seconds",
        )
    account = ServiceAccountRecord(
        id=new_id("svc_acct_"),
        project_id=project.id,
        name=request.name,
        role="member" if has_key else "none",
        created_at=int(time.time()),
    )
    value = mint("sk-svcacct-")
    key = new_key_record(
        value,
        name=request.name,
        organization_id=project.organization_id,
        project_id=project.id,
    ).model_copy(
        update={
            "service_account_id": account.id,
            "expires_at": end_of(request.expires_in_seconds),
        }
    )
    await services.store.projects.add_service_account(
        account, key=key if has_key else None, digest=key_digest(value)
    )
    return NewServiceAccount(
        **dict(_service_account(account)),
        api_key=_service_account_key(key, value) if has_key else None,
    )


async def list_accounts(
    services: Services, caller: Caller, project_id: str, *, limit: int, after: str | None
) -> CursorPage[ServiceAccount]:
    """Return one page of a project's service accounts, newest first.

    Raises:
        NotFound: There is no such project.
        InvalidRequest: `after` is no service account of the project's.
    """
    await projects.get_record(services, caller, project_id)
    records, has_more = await services.store.projects.page_service_accounts(
        project_id=project_id, limit=limit, after=after
    )
    return cursor_page([_service_account(record) for record in records], has_more=has_more)


async def get(
    services: Services, caller: Caller, project_id: str, account_id: str
) -> ServiceAccount:
    """Return a service account.

    Raises:
        NotFound: There is no such project or account.
    """
    return _service_account(await _get_account(services, caller, project_id, account_id))


async def update(
    services: Services,
    caller: Caller,
    project_id: str,
    account_id: str,
    request: ServiceAccountUpdate,
) -> ServiceAccount:
    """Change a service account's name or role.

    Raises:
        NotFound: There is no such project or account.
    """
    record = await _get_account(services, caller, project_id, account_id)
    record = record.model_copy(update=request.model_dump(exclude_none=True))
    await services.store.projects.update_service_account(record)
    return _service_account(record)


async def delete(
    services: Services, caller: Caller, project_id: str, account_id: str
) -> ServiceAccountDeleted:
    """Forget a service account; its keys stop within a second.

    Raises:
        NotFound: There is no such project or account.
    """
    await _get_account(services, caller, project_id, account_id)
    await services.store.projects.delete_service_account(
        account_id, project_id=project_id, now=int(time.time())
    )
    return ServiceAccountDeleted(id=account_id)


async def create_key_of(
    services: Services,
    caller: Caller,
    project_id: str,
    account_id: str,
    request: ServiceAccountKeyCreate,
) -> ServiceAccountKey:
    """Make another key of a service account.

    Raises:
        NotFound: There is no such project or account.
        InvalidRequest: The project is archived.
    """
    await projects.get_active(services, caller, project_id)
    account = await _get_account(services, caller, project_id, account_id)
    value, record = await create_key(
        services.store,
        name=request.name or account.name,
        organization_id=caller.organization_id,
        project_id=project_id,
        scopes=request.scopes,
        expires_at=end_of(request.expires_in_seconds),
        service_account_id=account.id,
    )
    return _service_account_key(record, value)


async def _get_account(
    services: Services, caller: Caller, project_id: str, account_id: str
) -> ServiceAccountRecord:
    await projects.get_record(services, caller, project_id)
    record = await services.store.projects.find_service_account(account_id, project_id=project_id)
    if record is None:
        raise NotFound(
            f"No such service account: '{account_id}'.",
            param="service_account_id",
            code="not_found",
        )
    return record


def _service_account(record: ServiceAccountRecord) -> ServiceAccount:
    return ServiceAccount(
        id=record.id, name=record.name, role=record.role, created_at=record.created_at
    )


def _service_account_key(record: KeyRecord, value: str) -> ServiceAccountKey:
    return ServiceAccountKey(
        id=record.id,
        name=record.name,
        value=value,
        created_at=record.created_at,
        expires_at=record.expires_at,
    )
