"""What goes with time, and what stays."""

import asyncio
import time
from dataclasses import replace

import pytest

from jobs import files
from jobs.housekeeping import is_done_with, tidy
from jobs.keys import Caller
from jobs.services import open_services
from jobs.store.migrate import migrate
from schemas.errors import CompletionNotFound, FileNotFound
from tests import samples

DAY = 24 * 3600
WEEK = 7 * DAY


@pytest.mark.parametrize(
    ("status", "seconds_ago", "expected"),
    [
        ("running", None, False),
        ("paused", None, False),  # it goes on from there, whenever that is
        ("succeeded", 10, False),  # its trainer may still be writing
        ("succeeded", 61, True),
        ("cancelled", 61, True),
        ("failed", WEEK - 1, False),  # somebody may want to read its log
        ("failed", WEEK + 1, True),
    ],
)
def test_a_trainers_directory_outlives_its_job_as_long_as_it_is_of_use(
    status, seconds_ago, expected
):
    """At 10^9 seconds, for a job that ended so many seconds ago."""
    finished_at = None if seconds_ago is None else 10**9 - seconds_ago
    job = samples.job(status=status, finished_at=finished_at)
    assert is_done_with(job, now=10**9) is expected


async def test_uploads_that_are_over_leave_nothing(settings):
    """Parts of a cancelled or long expired upload go, and half a file of theirs; a pending one's stay."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    now = int(time.time())
    async with open_services(settings) as services:
        pending, late = samples.upload(expires_at=now + 9), samples.upload(expires_at=now - 3601)
        cancelled = samples.upload(status="cancelled")
        for record in (pending, late, cancelled):
            await services.store.uploads.add(record)
            async with services.blobs.incoming() as incoming:
                blob = await incoming.finish()
                await services.blobs.keep_part(blob, record.upload.id, "part_a")
            services.blobs.file_path(record.file_id).write_text("half a file")

        await tidy(services, now=now)

        assert services.blobs.upload_ids() == [pending.upload.id]
        assert not services.blobs.file_path(late.file_id).exists()
        found = await services.store.uploads.find(late.upload.id)
        assert found.upload.status == "expired"


async def test_what_a_killed_writer_left_goes_after_an_hour(settings):
    """Half-written files that nobody wrote to for an hour are swept; what is still written to stays."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_services(settings) as services, services.blobs.incoming() as incoming:
        await incoming.write(b"x" * 2**21)
        await tidy(services, now=int(time.time()))
        assert (await incoming.finish()).path.exists()
        await tidy(services, now=int(time.time()) + 3609)
        assert list((settings.data_dir / "blobs" / "incoming").iterdir()) == []


async def test_a_file_past_its_date_is_gone_before_it_is_swept(settings):
    """It is not found, not listed, not deleted twice; its bytes and record go with the next sweep."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    now = int(time.time())
    caller = Caller(project_id="proj_a", organization_id="local", key_id="key_a")
    async with open_services(settings) as services:
        over = [samples.file(expires_at=now) for _ in range(150)]
        for file in over:
            services.blobs.file_path(file.id).write_text("bytes")
            await services.store.files.add(file, samples.file_record())
        for ask in (files.get, files.content_path, files.delete):
            with pytest.raises(FileNotFound):
                await ask(services, caller, over[0].id)
        listed = await files.list_files(
            services, caller, purpose=None, limit=10, order="desc", after=None
        )
        assert listed.data == []
        assert await files.delete_expired(services, now=now) == 150
        assert not any(services.blobs.file_path(file.id).exists() for file in over)
        assert await services.store.files.expired(now=now) == []


async def test_tidying_deletes_what_is_over_and_nothing_else(settings):
    """An expired file goes with its bytes, a finished job's directory goes; the others stay."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    now = int(time.time())
    async with open_services(settings) as services:
        expired, kept = samples.file(expires_at=now - 1), samples.file(expires_at=now + 99)
        for file in (expired, kept):
            services.blobs.file_path(file.id).write_text("bytes")
            await services.store.files.add(file, samples.file_record())
        over = samples.record(status="succeeded", finished_at=now - 99)
        running = samples.record(status="running")
        for record in (over, running):
            await services.store.jobs.add(record, [])
            services.blobs.work_dir(record.job.id)
        services.blobs.work_dir("ftjob-unknown")

        await tidy(services, now=now)

        with pytest.raises(FileNotFound):
            await services.store.files.get(expired.id, project_id="proj_a")
        assert not services.blobs.file_path(expired.id).exists()
        assert services.blobs.file_path(kept.id).exists()
        assert set(services.blobs.work_ids()) == {running.job.id, "ftjob-unknown"}


async def test_kept_answers_go_after_thirty_days(settings):
    """A stored completion is there for as long as the operator wants, and for ever where that is 0."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    now = int(time.time())
    async with open_services(settings) as services:
        kept = services.store.chat_completions
        for id, days in (("chatcmpl-old", 31), ("chatcmpl-young", 29)):
            await kept.add(samples.completion(id=id, created=now - days * DAY), [], project_id="p")
        await tidy(
            replace(services, settings=settings.model_copy(update={"stored_days": 0})), now=now
        )
        assert (await kept.get("chatcmpl-old", project_id="p")).id == "chatcmpl-old"

        await tidy(services, now=now)

        assert (await kept.get("chatcmpl-young", project_id="p")).id == "chatcmpl-young"
        with pytest.raises(CompletionNotFound):
            await kept.get("chatcmpl-old", project_id="p")
