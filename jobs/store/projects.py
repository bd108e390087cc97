"""Records of projects and of the service accounts in them."""

from sqlalchemy import Row, and_, delete, insert, select, update

from jobs.store.database import Database
from jobs.store.keys import add_key
from jobs.store.paging import page
from jobs.store.records import KeyRecord, ProjectRecord, ServiceAccountRecord
from jobs.store.tables import api_keys, projects, service_accounts


class ProjectRecords:
    """Projects of one organization or several; each question names which."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, project: ProjectRecord) -> None:
        """Make a project where there is none of that id."""
        async with self._database.write() as connection:
            found = await connection.scalar(
                select(projects.c.id).where(projects.c.id == project.id)
            )
            if found is None:
                await connection.execute(insert(projects).values(**project.model_dump()))

    async def find(self, project_id: str, *, organization_id: str) -> ProjectRecord | None:
        """Return a project of the organization's, archived or not, or None."""
        mine = and_(projects.c.id == project_id, projects.c.organization_id == organization_id)
        async with self._database.read() as connection:
            row = (await connection.execute(select(projects).where(mine))).one_or_none()
        return None if row is None else _project(row)

    async def active(self, *, organization_id: str) -> set[str]:
        """Return the ids of the organization's projects that are not archived."""
        query = select(projects.c.id).where(
            projects.c.organization_id == organization_id, projects.c.archived_at.is_(None)
        )
        async with self._database.read() as connection:
            return set(await connection.scalars(query))

    async def page(
        self, *, organization_id: str, include_archived: bool, limit: int, after: str | None
    ) -> tuple[list[ProjectRecord], bool]:
        """Return one page of the organization's projects, newest first, and whether there are more.

        Raises:
            InvalidRequest: `after` is no project of the organization's.
        """
        query = select(projects)
        if not include_archived:
            query = query.where(projects.c.archived_at.is_(None))
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                query,
                table=projects,
                owned=projects.c.organization_id == organization_id,
                limit=limit,
                after=after,
            )
        return [_project(row) for row in rows], has_more

    async def update(self, project: ProjectRecord) -> None:
        """Write a project's name and whether it is archived."""
        async with self._database.write() as connection:
            await connection.execute(
                update(projects)
                .where(projects.c.id == project.id)
                .values(name=project.name, archived_at=project.archived_at)
            )

    async def add_service_account(
        self, account: ServiceAccountRecord, *, key: KeyRecord | None, digest: str
    ) -> None:
        """Record a service account, with its first key where it gets one."""
        async with self._database.write() as connection:
            await connection.execute(insert(service_accounts).values(**account.model_dump()))
            if key is not None:
                await add_key(connection, key, digest=digest)

    async def find_service_account(
        self, account_id: str, *, project_id: str
    ) -> ServiceAccountRecord | None:
        """Return a service account of the project's, or None."""
        mine = and_(
            service_accounts.c.id == account_id, service_accounts.c.project_id == project_id
        )
        async with self._database.read() as connection:
            row = (await connection.execute(select(service_accounts).where(mine))).one_or_none()
        return None if row is None else _service_account(row)

    async def service_accounts(self, project_id: str) -> list[ServiceAccountRecord]:
        """Return all service accounts of a project, newest first."""
        query = (
            select(service_accounts)
            .where(service_accounts.c.project_id == project_id)
            .order_by(service_accounts.c.seq.desc())
        )
        async with self._database.read() as connection:
            return [_service_account(row) for row in await connection.execute(query)]

    async def page_service_accounts(
        self, *, project_id: str, limit: int, after: str | None
    ) -> tuple[list[ServiceAccountRecord], bool]:
        """Return one page of a project's service accounts, newest first, and whether there are more.

        Raises:
            InvalidRequest: `after` is no service account of the project's.
        """
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                select(service_accounts),
                table=service_accounts,
                owned=service_accounts.c.project_id == project_id,
                limit=limit,
                after=after,
            )
        return [_service_account(row) for row in rows], has_more

    async def update_service_account(self, account: ServiceAccountRecord) -> None:
        """Write a service account's name and role."""
        async with self._database.write() as connection:
            await connection.execute(
                update(service_accounts)
                .where(service_accounts.c.id == account.id)
                .values(name=account.name, role=account.role)
            )

    async def delete_service_account(self, account_id: str, *, project_id: str, now: int) -> bool:
        """Forget a service account and close its keys; False where there is none."""
        mine = and_(
            service_accounts.c.id == account_id, service_accounts.c.project_id == project_id
        )
        async with self._database.write() as connection:
            gone = await connection.execute(delete(service_accounts).where(mine))
            if gone.rowcount:
                await connection.execute(
                    update(api_keys)
                    .where(
                        api_keys.c.service_account_id == account_id, api_keys.c.revoked_at.is_(None)
                    )
                    .values(revoked_at=now)
                )
        return gone.rowcount == 1


def _project(row: Row[tuple[object, ...]]) -> ProjectRecord:
    return ProjectRecord(
        id=row.id,
        organization_id=row.organization_id,
        name=row.name,
        created_at=row.created_at,
        archived_at=row.archived_at,
    )


def _service_account(row: Row[tuple[object, ...]]) -> ServiceAccountRecord:
    return ServiceAccountRecord(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        role=row.role,
        created_at=row.created_at,
    )
