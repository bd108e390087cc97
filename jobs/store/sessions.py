"""Records of dashboard sessions. No cookie is stored, only its SHA-256."""

from sqlalchemy import delete, insert, or_, select, update

from jobs.store.database import Database
from jobs.store.tables import dashboard_sessions


class SessionRecords:
    """Who is signed in to the dashboard."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, digest: str, *, key_digest: str, now: int) -> None:
        """Record a session by the digests of its cookie and of its key, 64 hexadecimal digits each."""
        async with self._database.write() as connection:
            await connection.execute(
                insert(dashboard_sessions).values(
                    digest=digest, key_digest=key_digest, created_at=now, seen_at=now
                )
            )

    async def find(self, digest: str, *, created_after: int, seen_after: int) -> str | None:
        """Return the digest of the key that signed in; None where the session is over or never was."""
        table = dashboard_sessions
        query = select(table.c.key_digest).where(
            table.c.digest == digest,
            table.c.created_at > created_after,
            table.c.seen_at > seen_after,
        )
        async with self._database.read() as connection:
            found: str | None = await connection.scalar(query)
        return found

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
