"""Records of uploads and their parts."""

from collections.abc import Sequence

from sqlalchemy import Row, and_, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.files import add_file
from jobs.store.limits import ensure_room_for_file
from jobs.store.records import FileRecord, PartRecord, UploadRecord
from jobs.store.tables import upload_parts, uploads
from schemas.errors import InvalidRequest, UploadNotFound
from schemas.files import File
from schemas.uploads import MAX_PART_BYTES, MAX_PARTS, MAX_UPLOAD_BYTES, Upload, UploadStatus

_MAX_RECEIVED_BYTES = MAX_UPLOAD_BYTES + 8 * MAX_PART_BYTES
"""Of all parts of an upload: room for some that were sent twice, because their answer got lost."""


class UploadRecords:
    """What is known of each upload; its parts' bytes are the blob store's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, record: UploadRecord) -> None:
        """Record a new upload."""
        async with self._database.write() as connection:
            await connection.execute(insert(uploads).values(**_columns(record)))

    async def get(self, upload_id: str, *, project_id: str) -> UploadRecord:
        """Return an upload of the project's.

        Raises:
            UploadNotFound: There is none of that id.
        """
        async with self._database.read() as connection:
            return await _one(connection, upload_id, project_id=project_id)

    async def find(self, upload_id: str) -> UploadRecord | None:
        """Return an upload, whosever it is, or None."""
        async with self._database.read() as connection:
            query = select(uploads).where(uploads.c.id == upload_id)
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _record(row)

    async def add_part(self, part: PartRecord, *, project_id: str, now: int) -> None:
        """Record a part whose bytes are safe already.

        Raises:
            UploadNotFound: There is no such upload.
            InvalidRequest: It takes no more parts.
        """
        async with self._database.write() as connection:
            record = await _one(connection, part.upload_id, project_id=project_id, locked=True)
            ensure_pending(record, "add parts to", now=now)
            counted = select(func.count(), func.coalesce(func.sum(upload_parts.c.bytes), 0)).where(
                upload_parts.c.upload_id == part.upload_id
            )
            n_parts, received = (await connection.execute(counted)).one()
            if n_parts >= MAX_PARTS or int(received) + part.bytes > _MAX_RECEIVED_BYTES:
                raise InvalidRequest(
                    f"This upload has {n_parts} parts of {received} bytes together: it takes at most "
                    f"{MAX_PARTS}, and {MAX_UPLOAD_BYTES} bytes.",
                    param="data",
                )
            await connection.execute(insert(upload_parts).values(**part.model_dump()))

    async def parts(self, upload_id: str, part_ids: Sequence[str]) -> list[PartRecord]:
        """Return those of an upload's parts that are named, in the order of the names.

        Raises:
            InvalidRequest: One is named twice, or is no part of this upload's.
        """
        query = select(upload_parts).where(upload_parts.c.upload_id == upload_id)
        async with self._database.read() as connection:
            known = {row.id: _part(row) for row in await connection.execute(query)}
        found: dict[str, PartRecord] = {}
        for position, part_id in enumerate(part_ids):
            if part_id not in known or part_id in found:
                fault = "is named twice" if part_id in found else "is no part of this upload"
                raise InvalidRequest(
                    f"Invalid value: '{part_id}' {fault}.",
                    param=f"part_ids[{position}]",
                    code="invalid_value",
                )
            found[part_id] = known[part_id]
        return list(found.values())

    async def complete(self, upload_id: str, file: File, record: FileRecord) -> UploadRecord:
        """Make an upload's file known, and the upload complete, in one transaction.

        When the upload's time ended while its parts were being put together, it still counts.

        Raises:
            UploadNotFound: There is no such upload.
            InvalidRequest: It was completed or cancelled meanwhile.
            StorageQuotaReached: Its project may not have as much.
        """
        async with self._database.write() as connection:
            found = await _one(connection, upload_id, project_id=record.project_id, locked=True)
            ensure_pending(found, "complete", now=0)
            await ensure_room_for_file(
                connection, record.project_id, purpose=file.purpose, size=file.bytes
            )
            await add_file(connection, file, record)
            return await _end(connection, found, "completed")

    async def cancel(self, upload_id: str, *, project_id: str, now: int) -> UploadRecord:
        """Let an upload take no more parts.

        Raises:
            UploadNotFound: There is no such upload.
            InvalidRequest: It is over already.
        """
        async with self._database.write() as connection:
            found = await _one(connection, upload_id, project_id=project_id, locked=True)
            ensure_pending(found, "cancel", now=now)
            return await _end(connection, found, "cancelled")

    async def expire(self, *, before: int) -> None:
        """End the uploads whose time was over `before` that second."""
        late = and_(uploads.c.status == "pending", uploads.c.expires_at <= before)
        async with self._database.read() as connection:
            if await connection.scalar(select(uploads.c.seq).where(late).limit(1)) is None:
                return
        async with self._database.write() as connection:
            await connection.execute(update(uploads).where(late).values(status="expired"))


def ensure_pending(record: UploadRecord, deed: str, *, now: int) -> None:
    """Refuse a deed on an upload that is over.

    Raises:
        InvalidRequest: It is; the words name its status.
    """
    status = record.status_at(now)
    if status != "pending":
        raise InvalidRequest(f"Cannot {deed} an upload with status '{status}'.", param="upload_id")


async def _one(
    connection: AsyncConnection, upload_id: str, *, project_id: str, locked: bool = False
) -> UploadRecord:
    mine = and_(uploads.c.id == upload_id, uploads.c.project_id == project_id)
    query = select(uploads).where(mine)
    row = (await connection.execute(query.with_for_update() if locked else query)).one_or_none()
    if row is None:
        raise UploadNotFound(upload_id)
    return _record(row)


async def _end(
    connection: AsyncConnection, record: UploadRecord, status: UploadStatus
) -> UploadRecord:
    upload = record.upload.model_copy(update={"status": status})
    await connection.execute(update(uploads).where(uploads.c.id == upload.id).values(status=status))
    return record.model_copy(update={"upload": upload})


def _columns(record: UploadRecord) -> dict[str, object]:
    shown = record.upload.model_dump(exclude={"object", "file"})
    return shown | record.model_dump(exclude={"upload"})


def _record(row: Row[tuple[object, ...]]) -> UploadRecord:
    return UploadRecord(
        upload=Upload(
            id=row.id,
            bytes=row.bytes,
            created_at=row.created_at,
            filename=row.filename,
            purpose=row.purpose,
            status=row.status,
            expires_at=row.expires_at,
        ),
        project_id=row.project_id,
        mime_type=row.mime_type,
        file_id=row.file_id,
        file_lifetime=row.file_lifetime,
    )


def _part(row: Row[tuple[object, ...]]) -> PartRecord:
    return PartRecord(
        id=row.id, upload_id=row.upload_id, bytes=row.bytes, created_at=row.created_at
    )
