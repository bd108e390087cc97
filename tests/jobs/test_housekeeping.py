"""What goes with time, and what stays."""

import asyncio
import time

import pytest

from jobs.housekeeping import is_done_with, tidy
from jobs.services import open_services
from jobs.store.migrate import migrate
from schemas.errors import FileNotFound
from tests import samples

WEEK = 7 * 24 * 3600


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
