"""`/v1/organization`: projects, keys and limits, for admin keys."""

from typing import Literal

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

from jobs import admin_keys, project_keys, projects, service_accounts
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import CursorPage, Schema
from schemas.limits import Quotas, QuotasUpdate, RateLimit, RateLimitUpdate
from schemas.organizations import (
    AdminKey,
    AdminKeyCreate,
    AdminKeyDeleted,
    KeyDeleted,
    KeyRotate,
    NewAdminKey,
    NewProjectKey,
    NewServiceAccount,
    Project,
    ProjectCreate,
    ProjectKey,
    ProjectKeyCreate,
    ProjectKeyUpdate,
    ProjectUpdate,
    ServiceAccount,
    ServiceAccountCreate,
    ServiceAccountDeleted,
    ServiceAccountKey,
    ServiceAccountKeyCreate,
    ServiceAccountUpdate,
)


class ListNewest(Schema):
    """The query of a list, newest first."""

    after: str | None = None
    limit: int = Field(default=20, ge=1, le=100)


class ListProjects(ListNewest):
    """The query of a list of projects."""

    include_archived: bool = False


class ListProjectKeys(ListNewest):
    """The query of a list of a project's keys; all of ours have access to their project."""

    owner_project_access: Literal["active", "inactive", "any"] = "any"


class ListAdminKeys(ListNewest):
    """The query of a list of admin keys."""

    order: Literal["asc", "desc"] = "asc"


class ListRateLimits(Schema):
    """The query of a list of rate limits."""

    after: str | None = None
    before: str | None = None
    limit: int = Field(default=100, ge=1, le=100)


class Projects(Controller):
    """Create, change and archive projects."""

    path = "/organization/projects"

    @post(status_code=200)
    async def create(
        self,
        asked: NamedDependency[ProjectCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Project:
        return await projects.create(services, caller, name=asked.name)

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListProjects],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[Project]:
        return await projects.list_projects(
            services,
            caller,
            include_archived=params.include_archived,
            limit=params.limit,
            after=params.after,
        )

    @get("/{project_id:str}")
    async def retrieve(
        self,
        project_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Project:
        return await projects.get(services, caller, project_id)

    @post("/{project_id:str}", status_code=200)
    async def update(
        self,
        project_id: FromPath[str],
        asked: NamedDependency[ProjectUpdate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Project:
        return await projects.update(services, caller, project_id, asked)

    @post("/{project_id:str}/archive", status_code=200)
    async def archive(
        self,
        project_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Project:
        return await projects.archive(services, caller, project_id)


class ProjectKeys(Controller):
    """Make, change, replace and revoke a project's keys."""

    path = "/organization/projects/{project_id:str}/api_keys"

    @post(status_code=200)
    async def create(
        self,
        project_id: FromPath[str],
        asked: NamedDependency[ProjectKeyCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> NewProjectKey:
        return await project_keys.create(services, caller, project_id, asked)

    @get()
    async def list_all(
        self,
        project_id: FromPath[str],
        params: NamedDependency[ListProjectKeys],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[ProjectKey]:
        return await project_keys.list_keys(
            services, caller, project_id, limit=params.limit, after=params.after
        )

    @get("/{key_id:str}")
    async def retrieve(
        self,
        project_id: FromPath[str],
        key_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ProjectKey:
        return await project_keys.get(services, caller, project_id, key_id)

    @post("/{key_id:str}", status_code=200)
    async def update(
        self,
        project_id: FromPath[str],
        key_id: FromPath[str],
        asked: NamedDependency[ProjectKeyUpdate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ProjectKey:
        return await project_keys.update(services, caller, project_id, key_id, asked)

    @post("/{key_id:str}/rotate", status_code=200)
    async def rotate(
        self,
        project_id: FromPath[str],
        key_id: FromPath[str],
        asked: NamedDependency[KeyRotate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> NewProjectKey:
        return await project_keys.rotate(services, caller, project_id, key_id, asked)

    @delete("/{key_id:str}", status_code=200)
    async def remove(
        self,
        project_id: FromPath[str],
        key_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> KeyDeleted:
        return await project_keys.delete(services, caller, project_id, key_id)


class ServiceAccounts(Controller):
    """Make, change and delete a project's service accounts."""

    path = "/organization/projects/{project_id:str}/service_accounts"

    @post(status_code=200)
    async def create(
        self,
        project_id: FromPath[str],
        asked: NamedDependency[ServiceAccountCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> NewServiceAccount:
        return await service_accounts.create(services, caller, project_id, asked)

    @get()
    async def list_all(
        self,
        project_id: FromPath[str],
        params: NamedDependency[ListNewest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[ServiceAccount]:
        return await service_accounts.list_accounts(
            services, caller, project_id, limit=params.limit, after=params.after
        )

    @get("/{account_id:str}")
    async def retrieve(
        self,
        project_id: FromPath[str],
        account_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ServiceAccount:
        return await service_accounts.get(services, caller, project_id, account_id)

    @post("/{account_id:str}", status_code=200)
    async def update(
        self,
        project_id: FromPath[str],
        account_id: FromPath[str],
        asked: NamedDependency[ServiceAccountUpdate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ServiceAccount:
        return await service_accounts.update(services, caller, project_id, account_id, asked)

    @delete("/{account_id:str}", status_code=200)
    async def remove(
        self,
        project_id: FromPath[str],
        account_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ServiceAccountDeleted:
        return await service_accounts.delete(services, caller, project_id, account_id)

    @post("/{account_id:str}/api_keys", status_code=200)
    async def create_key(
        self,
        project_id: FromPath[str],
        account_id: FromPath[str],
        asked: NamedDependency[ServiceAccountKeyCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ServiceAccountKey:
        return await service_accounts.create_key_of(services, caller, project_id, account_id, asked)


class ProjectLimits(Controller):
    """Read and set how much a project may use."""

    path = "/organization/projects/{project_id:str}"

    @get("/rate_limits")
    async def list_rate_limits(
        self,
        project_id: FromPath[str],
        params: NamedDependency[ListRateLimits],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[RateLimit]:
        return await projects.list_rate_limits(
            services,
            caller,
            project_id,
            limit=params.limit,
            after=params.after,
            before=params.before,
        )

    @post("/rate_limits/{rate_limit_id:str}", status_code=200)
    async def update_rate_limit(
        self,
        project_id: FromPath[str],
        rate_limit_id: FromPath[str],
        asked: NamedDependency[RateLimitUpdate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> RateLimit:
        return await projects.update_rate_limit(services, caller, project_id, rate_limit_id, asked)

    @get("/quotas")
    async def retrieve_quotas(
        self,
        project_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Quotas:
        return await projects.get_quotas(services, caller, project_id)

    @post("/quotas", status_code=200)
    async def update_quotas(
        self,
        project_id: FromPath[str],
        asked: NamedDependency[QuotasUpdate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Quotas:
        return await projects.update_quotas(services, caller, project_id, asked)


class AdminKeys(Controller):
    """Make, replace and revoke admin keys."""

    path = "/organization/admin_api_keys"

    @post(status_code=200)
    async def create(
        self,
        asked: NamedDependency[AdminKeyCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> NewAdminKey:
        return await admin_keys.create(services, caller, asked)

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListAdminKeys],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[AdminKey]:
        return await admin_keys.list_keys(
            services, caller, limit=params.limit, after=params.after, order=params.order
        )

    @get("/{key_id:str}")
    async def retrieve(
        self,
        key_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> AdminKey:
        return await admin_keys.get(services, caller, key_id)

    @post("/{key_id:str}/rotate", status_code=200)
    async def rotate(
        self,
        key_id: FromPath[str],
        asked: NamedDependency[KeyRotate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> NewAdminKey:
        return await admin_keys.rotate(services, caller, key_id, asked)

    @delete("/{key_id:str}", status_code=200)
    async def remove(
        self,
        key_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> AdminKeyDeleted:
        return await admin_keys.delete(services, caller, key_id)
