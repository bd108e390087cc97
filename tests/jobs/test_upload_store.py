"""Records of uploads, on SQLite and on Postgres."""

import asyncio
import time

import pytest

from jobs.store.migrate import migrate
from jobs.store.records import FileRecord, PartRecord
from jobs.store.store import open_store
from schemas.errors import FileNotFound, InvalidRequest, UploadNotFound
from tests import samples

NOW = int(time.time())
OWNER = FileRecord(project_id="proj_a", sha256="0" * 64)


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


async def add_part(store, record, part_id, *, project_id="proj_a", now=NOW):
    part = PartRecord(id=part_id, upload_id=record.upload.id, bytes=5, created_at=now)
    await store.uploads.add_part(part, project_id=project_id, now=now)


async def test_from_parts_to_a_file(store):
    """Parts come back in the order that is asked for; file and completion are recorded together."""
    record = samples.upload()
    await store.uploads.add(record)
    assert await store.uploads.get(record.upload.id, project_id="proj_a") == record
    for part_id in ("part_a", "part_b"):
        await add_part(store, record, part_id)
    parts = await store.uploads.parts(record.upload.id, ["part_b", "part_a"])
    assert [part.id for part in parts] == ["part_b", "part_a"]
    file = samples.file(id=record.file_id)
    done = await store.uploads.complete(record.upload.id, file, OWNER)
    assert done.upload.status == "completed"
    assert await store.files.get(record.file_id, project_id="proj_a") == file
    for late in (
        add_part(store, record, "part_c"),
        store.uploads.complete(record.upload.id, samples.file(), OWNER),
        store.uploads.cancel(record.upload.id, project_id="proj_a", now=NOW),
    ):
        with pytest.raises(InvalidRequest, match="status 'completed'"):
            await late


async def test_parts_at_once_are_all_counted(store):
    """Many who add parts to one upload at the same time lose none."""
    record = samples.upload()
    await store.uploads.add(record)
    ids = [f"part_{number}" for number in range(12)]
    await asyncio.gather(*(add_part(store, record, part_id) for part_id in ids))
    assert len(await store.uploads.parts(record.upload.id, ids)) == 12


async def test_the_hour(store):
    """After its end an upload takes no part and no cancellation; the sweep writes it down for good."""
    record = samples.upload(expires_at=NOW)
    await store.uploads.add(record)
    for late in (
        add_part(store, record, "part_a"),
        store.uploads.cancel(record.upload.id, project_id="proj_a", now=NOW),
    ):
        with pytest.raises(InvalidRequest, match="status 'expired'"):
            await late
    await store.uploads.expire(before=NOW - 1)
    assert (await store.uploads.find(record.upload.id)).upload.status == "pending"
    await store.uploads.expire(before=NOW)
    assert (await store.uploads.find(record.upload.id)).upload.status == "expired"


async def test_another_projects(store):
    """It is not there for anybody else."""
    record = samples.upload("proj_b")
    await store.uploads.add(record)
    for ask in (
        store.uploads.get(record.upload.id, project_id="proj_a"),
        add_part(store, record, "part_a"),
        store.uploads.complete(record.upload.id, samples.file(), OWNER),
        store.uploads.cancel(record.upload.id, project_id="proj_a", now=NOW),
    ):
        with pytest.raises(UploadNotFound):
            await ask


async def test_an_ended_file_is_not_there(store):
    """`expire` is a deletion that a crash cannot stop half-way: unseen at once, and found by the sweep."""
    file = samples.file()
    await store.files.add(file, OWNER)
    with pytest.raises(FileNotFound):
        await store.files.expire(file.id, project_id="proj_b", now=NOW)
    await store.files.expire(file.id, project_id="proj_a", now=NOW)
    for ask in (
        store.files.get(file.id, project_id="proj_a"),
        store.files.expire(file.id, project_id="proj_a", now=NOW),
    ):
        with pytest.raises(FileNotFound):
            await ask
    assert await store.files.expired(now=NOW) == [("proj_a", file.id)]
