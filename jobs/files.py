"""What a user can do with files."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from jobs.blobs import StoredBlob
from jobs.keys import Caller
from jobs.lifecycle import UNFINISHED
from jobs.services import Services
from jobs.store.job_filter import JobFilter
from jobs.store.paging import Order
from jobs.store.records import FileRecord
from schemas.base import CursorPage
from schemas.errors import Conflict, FileNotFound, InvalidRequest
from schemas.files import ExpiresAfter, File, FileDeleted, UploadPurpose
from schemas.fine_tuning import Job
from schemas.ids import new_id

_BATCH_LIFETIME: Final = 30 * 24 * 3600
"""Seconds after which OpenAI forgets batch files; others stay."""


async def create(
    services: Services,
    caller: Caller,
    blob: StoredBlob,
    *,
    filename: str,
    purpose: UploadPurpose,
    expires_after: ExpiresAfter | None = None,
) -> File:
    """Keep an upload.

    Raises:
        InvalidRequest: It is empty, or meant for training and not UTF-8 text.
        StorageFull: There is no room; nothing was kept.
    """
    refuse_unusable(blob, purpose)
    now = int(time.time())
    lifetime = lifetime_of(purpose, expires_after)
    file = File(
        id=new_id("file-"),
        bytes=blob.bytes,
        created_at=now,
        filename=filename,
        purpose=purpose,
        expires_at=None if lifetime is None else now + lifetime,
    )
    await _keep(services, caller.project_id, blob, file)
    return file


def refuse_unusable(blob: StoredBlob, purpose: UploadPurpose) -> None:
    """Refuse bytes that no request could use for their purpose.

    Raises:
        InvalidRequest: They are none, or meant for training and not UTF-8 text.
    """
    if blob.bytes == 0:
        raise InvalidRequest("The file is empty.", param="file", code="empty_file")
    if purpose == "fine-tune" and not blob.is_utf8:
        raise InvalidRequest(
            "The file is not UTF-8 text. Save it as UTF-8 JSON Lines, one JSON object a line.",
            param="file",
            code="invalid_file_encoding",
        )


def lifetime_of(purpose: UploadPurpose, expires_after: ExpiresAfter | None) -> int | None:
    """Return the seconds that a file lives, or None: until it is deleted."""
    if expires_after is not None:
        return expires_after.seconds
    return _BATCH_LIFETIME if purpose == "batch" else None


async def create_result(
    services: Services, *, project_id: str, content: bytes, filename: str
) -> File:
    """Keep a file that a job made, for the job's project."""
    async with services.blobs.incoming() as incoming:
        await incoming.write(content)
        blob = await incoming.finish()
        file = File(
            id=new_id("file-"),
            bytes=blob.bytes,
            created_at=int(time.time()),
            filename=filename,
            purpose="fine-tune-results",
        )
        await _keep(services, project_id, blob, file)
    return file


async def list_files(
    services: Services,
    caller: Caller,
    *,
    purpose: str | None,
    limit: int,
    order: Order,
    after: str | None,
) -> CursorPage[File]:
    """Return one page of the caller's files.

    Raises:
        InvalidRequest: `after` is no file of the caller's.
    """
    return await services.store.files.page(
        project_id=caller.project_id, purpose=purpose, limit=limit, after=after, order=order
    )


async def get(services: Services, caller: Caller, file_id: str) -> File:
    """Return a file of the caller's.

    Raises:
        FileNotFound: There is none of that id, or its time is over.
    """
    return await services.store.files.get(file_id, project_id=caller.project_id)


async def content_path(services: Services, caller: Caller, file_id: str) -> tuple[File, Path]:
    """Return a file and where its bytes can be read.

    Raises:
        FileNotFound: There is none of that id.
    """
    file = await get(services, caller, file_id)
    return file, services.blobs.file_path(file.id)


async def uses(services: Services, caller: Caller, file_ids: Sequence[str]) -> dict[str, list[Job]]:
    """Return for each file the newest jobs that read or made it: of all files together the last 500."""
    page = await services.store.jobs.page(
        project_id=caller.project_id, limit=500, wanted=JobFilter(files=file_ids)
    )
    return {
        file_id: [job for job in page.data if file_id in _files_of(job)] for file_id in file_ids
    }


async def delete_unused(services: Services, caller: Caller, file_id: str) -> FileDeleted:
    """Delete a file that no job still needs.

    Raises:
        FileNotFound: There is none of that id.
        Conflict: A job that is not over reads it.
    """
    page = await services.store.jobs.page(
        project_id=caller.project_id,
        limit=1,
        wanted=JobFilter(files=[file_id], statuses=list(UNFINISHED)),
    )
    if page.data:
        [job] = page.data
        raise Conflict(
            f"The job '{job.id}' is {job.status} and needs this file. Wait until it has ended, or "
            "cancel it.",
            code="file_in_use",
        )
    return await delete(services, caller, file_id)


async def delete(services: Services, caller: Caller, file_id: str) -> FileDeleted:
    """Delete a file and its bytes.

    Raises:
        FileNotFound: There is none of that id.
    """
    await services.store.files.expire(file_id, project_id=caller.project_id, now=int(time.time()))
    # From here on nobody sees it. Should we die on the way, the sweep does the rest.
    await _delete_bytes_and_record(services, caller.project_id, file_id)
    return FileDeleted(id=file_id)


async def delete_expired(services: Services, *, now: int) -> int:
    """Delete the files whose time is over, and return how many."""
    n_deleted = 0
    while expired := await services.store.files.expired(now=now):
        for project_id, file_id in expired:
            await _delete_bytes_and_record(services, project_id, file_id)
        n_deleted += len(expired)
    return n_deleted


async def _delete_bytes_and_record(services: Services, project_id: str, file_id: str) -> None:
    # The record last: as long as it is there, the bytes are found and deleted.
    await services.blobs.delete_file(file_id)
    with suppress(FileNotFound):  # another worker's sweep was faster
        await services.store.files.delete(file_id, project_id=project_id)


def _files_of(job: Job) -> set[str | None]:
    return {job.training_file, job.validation_file, *job.result_files}


async def _keep(services: Services, project_id: str, blob: StoredBlob, file: File) -> None:
    # Bytes before the record: a record never points at nothing.
    await services.blobs.keep_file(blob, file.id)
    try:
        await services.store.files.add(file, FileRecord(project_id=project_id, sha256=blob.sha256))
    except BaseException:
        await services.blobs.delete_file(file.id)
        raise
