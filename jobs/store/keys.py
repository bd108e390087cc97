"""Records of API keys. No key is stored, only its SHA-256."""

import json
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, and_, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.paging import Order, page
from jobs.store.records import KeyRecord
from jobs.store.tables import api_key_secrets, api_keys, projects

NO_PROJECT: Final = ""
"""The project of an admin key: no record belongs to it."""


class KeyRecords:
    """Keys, and the secrets that open them: one each, two for a while after a rotation."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, key: KeyRecord, *, digest: str) -> None:
        """Record a key by its digest, 64 hexadecimal digits; a secret of a revoked one works again."""
        async with self._database.write() as connection:
            await add_key(connection, key, digest=digest)

    async def find(self, digest: str, *, now: int) -> KeyRecord | None:
        """Return the key of that digest, unless it or its secret is over or its project archived."""
        query = (
            _working(now)
            .join(api_key_secrets, api_key_secrets.c.key_id == api_keys.c.id)
            .where(api_key_secrets.c.digest == digest, _is_later(api_key_secrets.c.expires_at, now))
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _key(row)

    async def find_working(self, key_id: str, *, now: int) -> KeyRecord | None:
        """Return the key of that id, unless it is over or its project archived."""
        query = _working(now).where(api_keys.c.id == key_id)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _key(row)

    async def find_open(self, key_id: str, *, project_id: str | None = None) -> KeyRecord | None:
        """Return a key by its id, unless it was revoked; with `project_id` only where it is the project's."""
        async with self._database.read() as connection:
            row = (
                await connection.execute(select(api_keys).where(_open(key_id, project_id)))
            ).one_or_none()
        return None if row is None else _key(row)

    async def all(self) -> list[KeyRecord]:
        """Return every key, revoked ones too, oldest first."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(api_keys).order_by(api_keys.c.seq))
            return [_key(row) for row in rows]

    async def page(
        self, *, organization_id: str, project_id: str, limit: int, after: str | None, order: Order
    ) -> tuple[list[KeyRecord], bool]:
        """Return one page of a project's open keys, or of the admin keys, and whether there are more.

        Raises:
            InvalidRequest: `after` is none of them.
        """
        owned = and_(
            api_keys.c.organization_id == organization_id,
            api_keys.c.project_id == project_id,
            api_keys.c.revoked_at.is_(None),
        )
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                select(api_keys),
                table=api_keys,
                owned=owned,
                limit=limit,
                after=after,
                order=order,
            )
        return [_key(row) for row in rows], has_more

    async def update(self, key: KeyRecord) -> None:
        """Write a key's restrictions and its end."""
        async with self._database.write() as connection:
            await connection.execute(
                update(api_keys)
                .where(api_keys.c.id == key.id)
                .values(scopes=json.dumps(key.scopes), expires_at=key.expires_at)
            )

    async def rotate(
        self, key_id: str, *, digest: str, hint: str, now: int, old_until: int
    ) -> None:
        """Give a key a new secret; those before it work until `old_until` (Unix seconds) at most."""
        mine = api_key_secrets.c.key_id == key_id
        async with self._database.write() as connection:
            await connection.execute(
                delete(api_key_secrets).where(mine, api_key_secrets.c.expires_at <= now)
            )
            await connection.execute(
                update(api_key_secrets)
                .where(mine, _is_later(api_key_secrets.c.expires_at, old_until))
                .values(expires_at=old_until)
            )
            await connection.execute(insert(api_key_secrets).values(digest=digest, key_id=key_id))
            await connection.execute(
                update(api_keys).where(api_keys.c.id == key_id).values(hint=hint)
            )

    async def revoke(self, key_id: str, *, now: int, project_id: str | None = None) -> bool:
        """Close a key; False where there is no such open key."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(api_keys).where(_open(key_id, project_id)).values(revoked_at=now)
            )
        return done.rowcount == 1

    async def write_uses(self, last_used: Mapping[str, int]) -> None:
        """Record when keys were last used: Unix seconds by key. Safe in any order."""
        async with self._database.write() as connection:
            for key_id, used_at in last_used.items():
                is_newer = func.coalesce(api_keys.c.last_used_at, 0) < used_at
                await connection.execute(
                    update(api_keys)
                    .where(api_keys.c.id == key_id, is_newer)
                    .values(last_used_at=used_at)
                )


async def add_key(connection: AsyncConnection, key: KeyRecord, *, digest: str) -> None:
    """Record a key within a transaction; whatever key had this secret before loses it."""
    await connection.execute(delete(api_key_secrets).where(api_key_secrets.c.digest == digest))
    columns = key.model_dump() | {"scopes": json.dumps(key.scopes)}
    await connection.execute(insert(api_keys).values(**columns))
    await connection.execute(insert(api_key_secrets).values(digest=digest, key_id=key.id))


def _working(now: int) -> Select[tuple[object, ...]]:
    """Select the keys that are neither revoked nor over, and whose project, if they have one, is active."""
    active = and_(projects.c.id == api_keys.c.project_id, projects.c.archived_at.is_(None))
    return (
        select(api_keys)
        .outerjoin(projects, active)
        .where(
            api_keys.c.revoked_at.is_(None),
            _is_later(api_keys.c.expires_at, now),
            or_(api_keys.c.project_id == NO_PROJECT, projects.c.id.is_not(None)),
        )
    )


def _open(key_id: str, project_id: str | None) -> ColumnElement[bool]:
    is_open = and_(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None))
    return is_open if project_id is None else and_(is_open, api_keys.c.project_id == project_id)


def _is_later(column: ColumnElement[Any], moment: int) -> ColumnElement[bool]:
    """Whether a time is never, or after `moment`."""
    return or_(column.is_(None), column > moment)


def _key(row: Row[tuple[object, ...]]) -> KeyRecord:
    columns = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's name for a public member
    del columns["seq"]
    return KeyRecord(**columns | {"scopes": json.loads(row.scopes)})
