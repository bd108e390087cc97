"""Records of who, beside its own project, may ask a tuned model."""

from collections.abc import Sequence

from sqlalchemy import Row, and_, delete, func, insert, select

from jobs.store.database import Database
from jobs.store.paging import Order, cursor_page, page
from jobs.store.tables import checkpoint_permissions, models
from schemas.base import CursorPage
from schemas.checkpoint_permissions import CheckpointPermission
from schemas.ids import new_id


class PermissionRecords:
    """Permissions by model; whether the model is the caller's to share is not asked here."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def grant(
        self, model: str, project_ids: Sequence[str], *, now: int
    ) -> list[CheckpointPermission]:
        """Let projects ask a model, and return one permission for each; safe to repeat."""
        of_model = checkpoint_permissions.c.model == model
        async with self._database.write() as connection:
            # Locks the model on Postgres: two who grant at once do it one after the other.
            await connection.execute(
                select(models.c.seq).where(models.c.name == model).with_for_update()
            )
            rows = await connection.execute(select(checkpoint_permissions).where(of_model))
            granted = {row.project_id: _permission(row) for row in rows}
            for project_id in project_ids:
                if project_id not in granted:
                    made = CheckpointPermission(
                        id=new_id("cp_"), created_at=now, project_id=project_id
                    )
                    granted[project_id] = made
                    await connection.execute(
                        insert(checkpoint_permissions).values(
                            id=made.id, model=model, project_id=project_id, created_at=now
                        )
                    )
        return [granted[project_id] for project_id in dict.fromkeys(project_ids)]

    async def page(
        self, model: str, *, project_id: str | None, limit: int, after: str | None, order: Order
    ) -> CursorPage[CheckpointPermission]:
        """Return one page of a model's permissions, or of those of one project.

        Raises:
            InvalidRequest: `after` is no permission of the model's.
        """
        query = select(checkpoint_permissions)
        if project_id is not None:
            query = query.where(checkpoint_permissions.c.project_id == project_id)
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                query,
                table=checkpoint_permissions,
                owned=checkpoint_permissions.c.model == model,
                limit=limit,
                after=after,
                order=order,
            )
        return cursor_page([_permission(row) for row in rows], has_more=has_more)

    async def counts(self, *, owner: str) -> dict[str, int]:
        """Return how many projects may ask each model of the project `owner`; one that none may is left out."""
        query = (
            select(checkpoint_permissions.c.model, func.count().label("projects"))
            .join(models, models.c.name == checkpoint_permissions.c.model)
            .where(models.c.project_id == owner)
            .group_by(checkpoint_permissions.c.model)
        )
        async with self._database.read() as connection:
            return {row.model: row.projects for row in await connection.execute(query)}

    async def revoke(self, permission_id: str, *, model: str) -> bool:
        """Take a permission back; False where the model has none of that id."""
        which = and_(
            checkpoint_permissions.c.id == permission_id, checkpoint_permissions.c.model == model
        )
        async with self._database.write() as connection:
            gone = await connection.execute(delete(checkpoint_permissions).where(which))
        return gone.rowcount == 1


def _permission(row: Row[tuple[object, ...]]) -> CheckpointPermission:
    return CheckpointPermission(id=row.id, created_at=row.created_at, project_id=row.project_id)
