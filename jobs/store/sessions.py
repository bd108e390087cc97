"""Records of dashboard sessions. No cookie is stored, only its SHA-256."""

from sqlalchemy import delete, insert, or_, select, update

from jobs.store.database import Database
from jobs.store.tables import dashboard_sessions


class SessionRecords:
    """Who is signed in to the dashboard."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, digest: str, *, key_id: str, now: int) -> None:
        """Record a session by its cookie's digest, 64 hexadecimal digits."""
        async with self._database.write() as connection:
            await connection.execute(
                insert(dashboard_sessions).values(
                    digest=digest, key_id=key_id, created_at=now, seen_at=now
                )
            )

    async def find(self, digest: str, *, created_after: int, seen_after: int) -> str | None:
        """Return the id of the key that signed in; None where the session is over or never was."""
        table = dashboard_sessions
        query = select(table.c.key_id).where(
            table.c.digest == digest,
            table.c.created_at > created_after,
            table.c.seen_at > seen_after,
        )
        async with self._database.read() as connection:
            key_id: str | None = await connection.scalar(query)
        return key_id

    async def touch(self, digest: str, *, now: int) -> None:
        """Record that a session is in use."""
        async with self._database.write() as connection:
            await connection.execute(
                update(dashboard_sessions)
                .where(dashboard_sessions.c.digest == digest)
                .values(seen_at=now)
            )

    async def remove(self, digest: str) -> None:
        """End a session. Safe to repeat."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(dashboard_sessions).where(dashboard_sessions.c.digest == digest)
            )

    async def remove_over(self, *, created_before: int, seen_before: int) -> None:
        """Forget the sessions that are too old, or that nobody has used."""
        table = dashboard_sessions
        is_over = or_(table.c.created_at <= created_before, table.c.seen_at <= seen_before)
        async with self._database.write() as connection:
            await connection.execute(delete(table).where(is_over))
