"""What an administrator can do with projects and with what they may use."""

import time

from jobs.keys import DEFAULT_PROJECT, Caller
from jobs.services import Services
from jobs.store.paging import cursor_page
from jobs.store.records import ProjectRecord
from schemas.base import CursorPage
from schemas.errors import InvalidRequest, NotFound
from schemas.ids import new_id
from schemas.limits import (
    Limits,
    Quotas,
    QuotasUpdate,
    RateLimit,
    RateLimitUpdate,
    rate_limited_model,
)
from schemas.organizations import Project, ProjectUpdate


async def create(services: Services, caller: Caller, *, name: str) -> Project:
    """Make a project; it begins empty."""
    record = ProjectRecord(
        id=new_id("proj_"),
        organization_id=caller.organization_id,
        name=name,
        created_at=int(time.time()),
    )
    await services.store.projects.ensure(record)
    return _project(record)


async def list_projects(
    services: Services, caller: Caller, *, include_archived: bool, limit: int, after: str | None
) -> CursorPage[Project]:
    """Return one page of the organization's projects, newest first.

    Raises:
        InvalidRequest: `after` is no project of the organization's.
    """
    records, has_more = await services.store.projects.page(
        organization_id=caller.organization_id,
        include_archived=include_archived,
        limit=limit,
        after=after,
    )
    return cursor_page([_project(record) for record in records], has_more=has_more)


async def get(services: Services, caller: Caller, project_id: str) -> Project:
    """Return a project, archived or not.

    Raises:
        NotFound: There is none of that id.
    """
    return _project(await get_record(services, caller, project_id))


async def update(
    services: Services, caller: Caller, project_id: str, request: ProjectUpdate
) -> Project:
    """Rename a project.

    Raises:
        NotFound: There is none of that id.
        InvalidRequest: It is archived.
    """
    record = await get_active(services, caller, project_id)
    if request.name is not None:
        record = record.model_copy(update={"name": request.name})
        await services.store.projects.update(record)
    return _project(record)


async def archive(services: Services, caller: Caller, project_id: str) -> Project:
    """End a project for good: its keys stop within a second. Safe to repeat.

    Raises:
        NotFound: There is none of that id.
        InvalidRequest: It is the default project.
    """
    record = await get_record(services, caller, project_id)
    if record.id == DEFAULT_PROJECT:
        raise InvalidRequest("The default project cannot be archived.", param="project_id")
    if record.archived_at is None:
        record = record.model_copy(update={"archived_at": int(time.time())})
        await services.store.projects.update(record)
    return _project(record)


async def list_rate_limits(
    services: Services,
    caller: Caller,
    project_id: str,
    *,
    limit: int,
    after: str | None,
    before: str | None,
) -> CursorPage[RateLimit]:
    """Return one page of a project's limits: one entry for each base, in the catalogue's order.

    Raises:
        NotFound: There is no such project.
        InvalidRequest: `after` or `before` is no id of a limit's.
    """
    await get_record(services, caller, project_id)
    limits = await services.store.limits.rate_limits(project_id)
    entries = [
        RateLimit.of(info.name, limits.get(info.name, Limits())) for info in services.catalog.all()
    ]
    ids = [entry.id for entry in entries]
    start = 0 if after is None else _place(ids, after, param="after") + 1
    end = len(ids) if before is None else _place(ids, before, param="before")
    found = entries[start:end]
    # "The previous page": those right before `before`, not the list's first.
    data = found[-limit:] if before is not None and after is None else found[:limit]
    return cursor_page(data, has_more=len(found) > limit)


async def update_rate_limit(
    services: Services,
    caller: Caller,
    project_id: str,
    rate_limit_id: str,
    request: RateLimitUpdate,
) -> RateLimit:
    """Change a project's limits on one base.

    Raises:
        NotFound: There is no such project, or no such limit.
        InvalidRequest: The project is archived.
    """
    await get_active(services, caller, project_id)
    model = rate_limited_model(rate_limit_id)
    if model not in {info.name for info in services.catalog.all()}:
        raise NotFound(
            f"No such rate limit: '{rate_limit_id}'.", param="rate_limit_id", code="not_found"
        )
    limits = (await services.store.limits.rate_limits(project_id)).get(model, Limits())
    limits = request.applied_to(limits)
    await services.store.limits.set_rate_limit(project_id, model, limits)
    return RateLimit.of(model, limits)


async def get_quotas(services: Services, caller: Caller, project_id: str) -> Quotas:
    """Return how much a project may have.

    Raises:
        NotFound: There is no such project.
    """
    await get_record(services, caller, project_id)
    return await services.store.limits.quotas(project_id)


async def update_quotas(
    services: Services, caller: Caller, project_id: str, request: QuotasUpdate
) -> Quotas:
    """Change how much a project may have; what it has already it keeps.

    Raises:
        NotFound: There is no such project.
        InvalidRequest: It is archived.
    """
    await get_active(services, caller, project_id)
    quotas = request.applied_to(await services.store.limits.quotas(project_id))
    await services.store.limits.set_quotas(project_id, quotas)
    return quotas


async def get_record(services: Services, caller: Caller, project_id: str) -> ProjectRecord:
    """Return a project of the caller's organization, archived or not.

    Raises:
        NotFound: There is none of that id.
    """
    record = await services.store.projects.find(project_id, organization_id=caller.organization_id)
    if record is None:
        raise NotFound(f"No such project: '{project_id}'.", param="project_id", code="not_found")
    return record


async def get_active(services: Services, caller: Caller, project_id: str) -> ProjectRecord:
    """Return a project of the caller's organization that can still be changed.

    Raises:
        NotFound: There is none of that id.
        InvalidRequest: It is archived.
    """
    record = await get_record(services, caller, project_id)
    if record.archived_at is not None:
        raise InvalidRequest(
            f"Project '{project_id}' is archived and cannot be changed any more.",
            param="project_id",
            code="project_archived",
        )
    return record


def _project(record: ProjectRecord) -> Project:
    return Project(
        id=record.id,
        name=record.name,
        created_at=record.created_at,
        archived_at=record.archived_at,
        status="active" if record.archived_at is None else "archived",
    )


def _place(ids: list[str], wanted: str, *, param: str) -> int:
    if wanted not in ids:
        raise InvalidRequest(f"There is no object with id '{wanted}'.", param=param)
    return ids.index(wanted)
