"""What a user can do with uploads: files that arrive in parts."""

import time
from asyncio import to_thread
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from jobs.blobs import StoredBlob
from jobs.files import lifetime_of, refuse_unusable
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.records import FileRecord, PartRecord, UploadRecord
from jobs.store.uploads import ensure_pending
from schemas.errors import InvalidRequest, NotFound, StillAtWork, StorageQuotaReached
from schemas.files import File
from schemas.ids import new_id
from schemas.uploads import Upload, UploadComplete, UploadCreate, UploadPart

_LIFETIME: Final = 3600
"""Seconds, as at OpenAI."""
_GRACE: Final = 3600
"""Seconds after an upload's end until its parts go: somebody may still be putting them together."""


async def create(services: Services, caller: Caller, request: UploadCreate) -> Upload:
    """Announce a file that will arrive in parts."""
    now = int(time.time())
    upload = Upload(
        id=new_id("upload_"),
        bytes=request.bytes,
        created_at=now,
        filename=request.filename,
        purpose=request.purpose,
        status="pending",
        expires_at=now + _LIFETIME,
    )
    await services.store.uploads.add(
        UploadRecord(
            upload=upload,
            project_id=caller.project_id,
            mime_type=request.mime_type,
            file_id=new_id("file-"),
            file_lifetime=lifetime_of(request.purpose, request.expires_after),
        )
    )
    return upload


async def expect_part(services: Services, caller: Caller, upload_id: str) -> None:
    """Refuse a part before any of it is read.

    Raises:
        UploadNotFound: There is no such upload.
        InvalidRequest: It takes no more parts.
    """
    record = await services.store.uploads.get(upload_id, project_id=caller.project_id)
    ensure_pending(record, "add parts to", now=int(time.time()))


async def add_part(
    services: Services, caller: Caller, upload_id: str, blob: StoredBlob
) -> UploadPart:
    """Keep a part. Once this returns, its bytes outlive any crash.

    Raises:
        UploadNotFound: There is no such upload.
        InvalidRequest: The part is empty, or the upload takes no more.
    """
    if blob.bytes == 0:
        raise InvalidRequest("The part is empty.", param="data", code="empty_file")
    now = int(time.time())
    part = PartRecord(id=new_id("part_"), upload_id=upload_id, bytes=blob.bytes, created_at=now)
    # Bytes before the record: a record never points at nothing.
    async with _told_if_over(services, upload_id, caller.project_id, "add parts to"):
        await services.blobs.keep_part(blob, upload_id, part.id)
    try:
        await services.store.uploads.add_part(part, project_id=caller.project_id, now=now)
    except (InvalidRequest, NotFound):
        # Only where the upload takes no more: whatever else breaks here may have broken after the commit.
        # Bytes that no record names go with the upload's end.
        await services.blobs.delete_part(upload_id, part.id)
        raise
    return UploadPart(id=part.id, created_at=now, upload_id=upload_id)


async def complete(
    services: Services, caller: Caller, upload_id: str, request: UploadComplete
) -> Upload:
    """Make a file of the parts, in the order of `part_ids`; parts that it does not name are dropped.

    Until the file is recorded nothing changes: what breaks off can be asked for again.

    Raises:
        UploadNotFound: There is no such upload.
        InvalidRequest: It is over; a part is not its own; the bytes are not those announced, by
            number or MD5, or of no use for their purpose.
        StillAtWork: It is being completed right now.
        StorageQuotaReached: The project may not have as much.
        StorageFull: There is no room for the file beside its parts.
    """
    record = await services.store.uploads.get(upload_id, project_id=caller.project_id)
    ensure_pending(record, "complete", now=int(time.time()))
    parts = await services.store.uploads.parts(upload_id, request.part_ids)
    _check_size(record.upload, sum(part.bytes for part in parts))
    async with _joined(services, record, request) as blob:
        _check_md5(blob, request.md5)
        refuse_unusable(blob, record.upload.purpose)
        file = _file_of(record, blob, now=int(time.time()))
        # Bytes before the record. The upload says which file, so a crash in between leaves nothing.
        await services.blobs.keep_file(blob, file.id)
        upload = await _record(services, record, file, blob)
    await services.blobs.delete_parts(upload_id)
    return upload


async def cancel(services: Services, caller: Caller, upload_id: str) -> Upload:
    """Give an upload up, and delete its parts.

    Raises:
        UploadNotFound: There is no such upload.
        InvalidRequest: It is over already.
    """
    record = await services.store.uploads.cancel(
        upload_id, project_id=caller.project_id, now=int(time.time())
    )
    await services.blobs.delete_parts(upload_id)
    return record.upload


async def delete_over(services: Services, *, now: int) -> None:
    """End the uploads whose time is over, and delete the parts of those that are over. Safe to repeat."""
    await services.store.uploads.expire(before=now - _GRACE)
    for upload_id in await to_thread(services.blobs.upload_ids):
        record = await services.store.uploads.find(upload_id)
        if record is None or record.upload.status == "pending":
            continue  # one of another database's is not ours to delete
        await services.blobs.delete_parts(upload_id)
        if record.upload.status != "completed":
            # A completion that was killed may have left the file's bytes behind.
            await services.blobs.delete_file(record.file_id)


@asynccontextmanager
async def _joined(
    services: Services, record: UploadRecord, request: UploadComplete
) -> AsyncGenerator[StoredBlob]:
    upload_id = record.upload.id
    joined = services.blobs.joined(upload_id, request.part_ids, with_md5=request.md5 is not None)
    try:
        async with (
            _told_if_over(services, upload_id, record.project_id, "complete"),
            joined as blob,
        ):
            yield blob
    except BlockingIOError as exc:
        raise StillAtWork("This upload is being completed right now.", param="upload_id") from exc


@asynccontextmanager
async def _told_if_over(
    services: Services, upload_id: str, project_id: str, deed: str
) -> AsyncGenerator[None]:
    """Where parts are gone under our hands: say that somebody ended the upload."""
    try:
        yield
    except FileNotFoundError:
        record = await services.store.uploads.get(upload_id, project_id=project_id)
        ensure_pending(record, deed, now=0)
        raise


async def _record(services: Services, record: UploadRecord, file: File, blob: StoredBlob) -> Upload:
    try:
        completed = await services.store.uploads.complete(
            record.upload.id, file, FileRecord(project_id=record.project_id, sha256=blob.sha256)
        )
    except (InvalidRequest, StorageQuotaReached):
        # Only what surely was not recorded. After anything else, such as a lost connection, the bytes
        # stay: the next try replaces them, or the sweep deletes them with the parts.
        await services.blobs.delete_file(file.id)
        raise
    return completed.upload.model_copy(update={"file": file})


def _check_size(upload: Upload, received: int) -> None:
    if received != upload.bytes:
        raise InvalidRequest(
            f"The parts have {received} bytes together, but the upload was created for "
            f"{upload.bytes}. Name all of its parts, or create another upload.",
            param="part_ids",
            code="invalid_upload_size",
        )


def _check_md5(blob: StoredBlob, expected: str | None) -> None:
    if expected is not None and expected.lower() != blob.md5:
        raise InvalidRequest(
            f"The MD5 of the parts, in this order, is '{blob.md5}', but you expected "
            f"'{expected}'. Check the order of 'part_ids'.",
            param="md5",
            code="invalid_checksum",
        )


def _file_of(record: UploadRecord, blob: StoredBlob, *, now: int) -> File:
    lifetime = record.file_lifetime
    return File(
        id=record.file_id,
        bytes=blob.bytes,
        created_at=now,
        filename=record.upload.filename,
        purpose=record.upload.purpose,
        expires_at=None if lifetime is None else now + lifetime,
    )
