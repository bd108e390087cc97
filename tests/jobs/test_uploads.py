"""Uploads whose requests run into each other."""

import asyncio
from dataclasses import replace

import pytest

from jobs import uploads
from jobs.blobs import Blobs, StoredBlob
from jobs.keys import Caller
from jobs.services import Services, open_services
from jobs.store.migrate import migrate
from jobs.store.uploads import UploadRecords
from schemas.errors import InvalidRequest, StillAtWork, StorageQuotaReached, UploadNotFound
from schemas.limits import Quotas
from schemas.uploads import Upload, UploadComplete, UploadCreate

CALLER = Caller(project_id="proj_a", organization_id="local", key_id="key_a")
OTHER = CALLER.model_copy(update={"project_id": "proj_b"})


@pytest.fixture
async def services(settings):
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_services(settings) as opened:
        yield opened


async def started(services: Services, content: bytes = b"abc") -> tuple[Upload, UploadComplete]:
    """An upload with all its bytes in one part, and what completes it."""
    asked = UploadCreate(filename="a", purpose="vision", bytes=len(content), mime_type="a/b")
    upload = await uploads.create(services, CALLER, asked)
    return upload, UploadComplete(part_ids=[await sent(services, upload, content)])


async def sent(services: Services, upload: Upload, content: bytes, caller: Caller = CALLER) -> str:
    async with services.blobs.incoming() as incoming:
        await incoming.write(content)
        part = await uploads.add_part(services, caller, upload.id, await incoming.finish())
    return part.id


async def test_another_projects_upload_is_not_there(services):
    """No call reaches it, and no bytes are kept for it."""
    upload, complete = await started(services)
    asks = (
        uploads.expect_part(services, OTHER, upload.id),
        sent(services, upload, b"def", OTHER),
        uploads.complete(services, OTHER, upload.id, complete),
        uploads.cancel(services, OTHER, upload.id),
    )
    for ask in asks:
        with pytest.raises(UploadNotFound):
            await ask
    done = await uploads.complete(services, CALLER, upload.id, complete)
    assert services.blobs.file_path(done.file.id).read_bytes() == b"abc"


async def test_one_completes_at_a_time(services):
    """Who asks meanwhile is told to ask again; the upload is completed once."""
    upload, complete = await started(services)
    async with services.blobs.joined(upload.id, complete.part_ids, with_md5=False):
        with pytest.raises(StillAtWork):
            await uploads.complete(services, CALLER, upload.id, complete)
    asks = (uploads.complete(services, CALLER, upload.id, complete) for _ in range(5))
    ends = await asyncio.gather(*asks, return_exceptions=True)
    assert sum(isinstance(end, Upload) for end in ends) == 1
    assert all(isinstance(end, Upload | StillAtWork | InvalidRequest) for end in ends)


class BreaksOff(UploadRecords):
    """The request is cancelled between the commit and its return."""

    async def add_part(self, part, *, project_id, now):
        await super().add_part(part, project_id=project_id, now=now)
        self.part_id = part.id
        raise asyncio.CancelledError


async def test_part_that_was_recorded_keeps_its_bytes(services):
    """Where the request breaks off after the commit, the part is there, and completes the upload."""
    asked = UploadCreate(filename="a", purpose="vision", bytes=3, mime_type="a/b")
    upload = await uploads.create(services, CALLER, asked)
    records = BreaksOff(services.store.database)
    breaking = replace(services, store=replace(services.store, uploads=records))
    with pytest.raises(asyncio.CancelledError):
        await sent(breaking, upload, b"abc")
    complete = UploadComplete(part_ids=[records.part_id])
    done = await uploads.complete(services, CALLER, upload.id, complete)
    assert services.blobs.file_path(done.file.id).read_bytes() == b"abc"


class CancelsMeanwhile(Blobs):
    """Somebody cancels the upload when its file is about to get its name."""

    services: Services
    upload_id: str

    async def keep_file(self, blob: StoredBlob, file_id: str) -> None:
        await super().keep_file(blob, file_id)
        await uploads.cancel(self.services, CALLER, self.upload_id)


async def test_cancelled_while_it_is_completed(services):
    """The cancellation holds: no file, no bytes, and the completion says why."""
    upload, complete = await started(services)
    blobs = CancelsMeanwhile(services.settings.data_dir)
    blobs.services, blobs.upload_id = services, upload.id
    with pytest.raises(InvalidRequest, match="status 'cancelled'"):
        await uploads.complete(replace(services, blobs=blobs), CALLER, upload.id, complete)
    found = await services.store.uploads.find(upload.id)
    assert not services.blobs.file_path(found.file_id).exists()
    assert services.blobs.upload_ids() == []


async def test_a_part_that_comes_too_late_leaves_nothing(services):
    """A part whose upload ended while it was received is refused, and its bytes go."""
    upload, complete = await started(services)
    async with services.blobs.incoming() as incoming:
        await incoming.write(b"late")
        blob = await incoming.finish()
        await uploads.complete(services, CALLER, upload.id, complete)
        with pytest.raises(InvalidRequest, match="status 'completed'"):
            await uploads.add_part(services, CALLER, upload.id, blob)
    left = services.settings.data_dir / "blobs" / "parts"
    assert [path for path in left.rglob("*") if path.is_file()] == []


async def test_no_room_in_the_quota(services):
    """A file beyond the project's quota is refused and leaves no bytes; the upload can be completed when there is room."""
    upload, complete = await started(services)
    await services.store.limits.set_quotas("proj_a", Quotas(max_storage_bytes=2))
    with pytest.raises(StorageQuotaReached):
        await uploads.complete(services, CALLER, upload.id, complete)
    found = await services.store.uploads.find(upload.id)
    assert not services.blobs.file_path(found.file_id).exists()
    await services.store.limits.set_quotas("proj_a", Quotas(max_storage_bytes=3))
    done = await uploads.complete(services, CALLER, upload.id, complete)
    assert done.file.id == found.file_id


async def test_parts_have_an_end(services):
    """More bytes than the largest file needs are refused, whatever was announced."""
    upload, _ = await started(services)
    async with services.store.database.write() as connection:
        await connection.exec_driver_sql("UPDATE upload_parts SET bytes = 9126805504")
    with pytest.raises(InvalidRequest) as refused:
        await sent(services, upload, b"x")
    assert refused.value.param == "data"
