"""Records of tuned models: which name stands for which adapter."""

from sqlalchemy import Row, and_, func, or_, select, update

from jobs.store.database import Database
from jobs.store.records import ModelRecord
from jobs.store.tables import checkpoint_permissions, models
from schemas.errors import ModelNotFound


class ModelRecords:
    """Tuned models and checkpoints, by name. A deleted name stays taken."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, name: str, *, project_id: str) -> ModelRecord | None:
        """Return a model of the project's, or None."""
        async with self._database.read() as connection:
            mine = and_(models.c.name == name, models.c.project_id == project_id)
            query = select(models).where(mine, models.c.deleted_at.is_(None))
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _model(row)

    async def find_askable(self, name: str, *, project_id: str) -> ModelRecord | None:
        """Return a model that is the project's, or that another lets it ask, or None."""
        is_permitted = (
            select(checkpoint_permissions.c.id)
            .where(
                checkpoint_permissions.c.model == models.c.name,
                checkpoint_permissions.c.project_id == project_id,
            )
            .exists()
        )
        query = select(models).where(
            models.c.name == name,
            models.c.deleted_at.is_(None),
            or_(models.c.project_id == project_id, is_permitted),
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _model(row)

    async def find_in(self, organization_id: str, name: str) -> ModelRecord | None:
        """Return a model of any of the organization's projects, or None."""
        query = select(models).where(
            models.c.name == name,
            models.c.organization_id == organization_id,
            models.c.deleted_at.is_(None),
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _model(row)

    async def all_of(self, project_id: str) -> list[ModelRecord]:
        """Return the project's models, newest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(models)
                .where(models.c.project_id == project_id, models.c.deleted_at.is_(None))
                .order_by(models.c.seq.desc())
            )
            return [_model(row) for row in rows]

    async def newest(self, project_id: str) -> tuple[int, int]:
        """Return how many models the project has, and which of all models its newest is; 0: none."""
        query = select(func.count(), func.coalesce(func.max(models.c.seq), 0)).where(
            models.c.project_id == project_id, models.c.deleted_at.is_(None)
        )
        async with self._database.read() as connection:
            count, seq = (await connection.execute(query)).one()
        return count, seq

    async def live_on(self, base: str) -> list[ModelRecord]:
        """Return every project's models on a base, newest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(models)
                .where(models.c.base == base, models.c.deleted_at.is_(None))
                .order_by(models.c.seq.desc())
            )
            return [_model(row) for row in rows]

    async def delete(self, name: str, *, project_id: str, now: int) -> ModelRecord:
        """Take a model's name away; its adapter's files stay until no engine can read them.

        Raises:
            ModelNotFound: The project has none of that name.
        """
        async with self._database.write() as connection:
            mine = and_(
                models.c.name == name,
                models.c.project_id == project_id,
                models.c.deleted_at.is_(None),
            )
            row = (await connection.execute(select(models).where(mine))).one_or_none()
            if row is None:
                raise ModelNotFound(name)
            await connection.execute(update(models).where(mine).values(deleted_at=now))
        return _model(row)

    async def live_adapters(self) -> set[str]:
        """Return every adapter that some model names, whoever's and on whatever base."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(models.c.adapter_id).where(models.c.deleted_at.is_(None)).distinct()
            )
            return {row.adapter_id for row in rows}


def _model(row: Row[tuple[object, ...]]) -> ModelRecord:
    return ModelRecord(
        name=row.name,
        project_id=row.project_id,
        organization_id=row.organization_id,
        base=row.base,
        adapter_id=row.adapter_id,
        job_id=row.job_id,
        created_at=row.created_at,
    )
