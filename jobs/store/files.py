"""Records of files. One whose time is over is not there any more, whether it was swept yet or not."""

import time

from sqlalchemy import ColumnElement, Row, and_, delete, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.limits import ensure_room_for_file
from jobs.store.paging import Order, cursor_page, page
from jobs.store.records import FileRecord
from jobs.store.tables import files
from schemas.base import CursorPage
from schemas.errors import FileNotFound
from schemas.files import File


async def add_file(connection: AsyncConnection, file: File, record: FileRecord) -> None:
    """Record a file whose bytes are safe already, in the transaction that makes it somebody's."""
    await connection.execute(
        insert(files).values(
            id=file.id,
            project_id=record.project_id,
            filename=file.filename,
            purpose=file.purpose,
            bytes=file.bytes,
            sha256=record.sha256,
            created_at=file.created_at,
            expires_at=file.expires_at,
        )
    )


class FileRecords:
    """What is known of each file; its bytes are the blob store's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, file: File, record: FileRecord) -> None:
        """Record a file whose bytes are safe already.

        Raises:
            StorageQuotaReached: Its project may not have as much.
        """
        async with self._database.write() as connection:
            await ensure_room_for_file(
                connection, record.project_id, purpose=file.purpose, size=file.bytes
            )
            await add_file(connection, file, record)

    async def get(self, file_id: str, *, project_id: str) -> File:
        """Return a file of the project's.

        Raises:
            FileNotFound: There is none of that id.
        """
        async with self._database.read() as connection:
            mine = and_(files.c.id == file_id, files.c.project_id == project_id, _is_there())
            row = (await connection.execute(select(files).where(mine))).one_or_none()
        if row is None:
            raise FileNotFound(file_id)
        return _file(row)

    async def page(
        self,
        *,
        project_id: str,
        purpose: str | None,
        limit: int,
        after: str | None,
        order: Order,
    ) -> CursorPage[File]:
        """Return one page of the project's files.

        Raises:
            InvalidRequest: `after` is no file of the project's.
        """
        query = select(files).where(_is_there())
        if purpose is not None:
            query = query.where(files.c.purpose == purpose)
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                query,
                table=files,
                owned=files.c.project_id == project_id,
                limit=limit,
                after=after,
                order=order,
            )
        data = [_file(row) for row in rows]
        return cursor_page(data, has_more=has_more)

    async def expire(self, file_id: str, *, project_id: str, now: int) -> None:
        """End a file's time: from here on it is not there, and what is left of it the sweep finds.

        Raises:
            FileNotFound: There is none of that id.
        """
        async with self._database.write() as connection:
            mine = and_(files.c.id == file_id, files.c.project_id == project_id, _is_there())
            ended = await connection.execute(update(files).where(mine).values(expires_at=now))
        if ended.rowcount == 0:
            raise FileNotFound(file_id)

    async def delete(self, file_id: str, *, project_id: str) -> None:
        """Forget a file.

        Raises:
            FileNotFound: There is none of that id.
        """
        async with self._database.write() as connection:
            mine = and_(files.c.id == file_id, files.c.project_id == project_id)
            gone = await connection.execute(delete(files).where(mine))
        if gone.rowcount == 0:
            raise FileNotFound(file_id)

    async def expired(self, *, now: int) -> list[tuple[str, str]]:
        """Return project and id of the files whose time is over."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(files.c.project_id, files.c.id).where(files.c.expires_at <= now).limit(100)
            )
            return [(row.project_id, row.id) for row in rows]


def _is_there() -> ColumnElement[bool]:
    return or_(files.c.expires_at.is_(None), files.c.expires_at > time.time())


def _file(row: Row[tuple[object, ...]]) -> File:
    return File(
        id=row.id,
        bytes=row.bytes,
        created_at=row.created_at,
        filename=row.filename,
        purpose=row.purpose,
        expires_at=row.expires_at,
    )
