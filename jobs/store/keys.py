"""Records of projects and API keys. No key is stored, only its SHA-256."""

from sqlalchemy import Row, Select, delete, insert, select, update

from jobs.store.database import Database
from jobs.store.records import KeyRecord
from jobs.store.tables import api_keys, projects


class KeyRecords:
    """Projects, and the keys that open them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure_project(
        self, project_id: str, *, organization_id: str, name: str, now: int
    ) -> None:
        """Make a project where there is none of that id."""
        async with self._database.write() as connection:
            found = await connection.scalar(
                select(projects.c.id).where(projects.c.id == project_id)
            )
            if found is None:
                await connection.execute(
                    insert(projects).values(
                        id=project_id, organization_id=organization_id, name=name, created_at=now
                    )
                )

    async def add(self, key: KeyRecord, *, digest: str) -> None:
        """Record a key by its digest, 64 hexadecimal digits; a revoked one works again."""
        async with self._database.write() as connection:
            await connection.execute(delete(api_keys).where(api_keys.c.digest == digest))
            await connection.execute(
                insert(api_keys).values(
                    id=key.id,
                    project_id=key.project_id,
                    digest=digest,
                    hint=key.hint,
                    name=key.name,
                    created_at=key.created_at,
                )
            )

    async def find(self, digest: str) -> KeyRecord | None:
        """Return the key of that digest, unless it was revoked."""
        async with self._database.read() as connection:
            query = _keys().where(api_keys.c.digest == digest, api_keys.c.revoked_at.is_(None))
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _key(row)

    async def all(self) -> list[KeyRecord]:
        """Return every key, revoked ones too, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(_keys().order_by(api_keys.c.created_at))
            return [_key(row) for row in rows]

    async def revoke(self, key_id: str, *, now: int) -> bool:
        """Close a key; False where there is no such open key."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
                .values(revoked_at=now)
            )
        return done.rowcount == 1


def _keys() -> Select[tuple[object, ...]]:
    return select(api_keys, projects.c.organization_id).join(
        projects, projects.c.id == api_keys.c.project_id
    )


def _key(row: Row[tuple[object, ...]]) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        project_id=row.project_id,
        organization_id=row.organization_id,
        name=row.name,
        hint=row.hint,
        created_at=row.created_at,
        revoked_at=row.revoked_at,
    )
