"""What a project may have, held where it is created."""

import asyncio
import time

import pytest

from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import LimitReached, StorageQuotaReached
from schemas.limits import Limits, Quotas
from tests import samples


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


async def test_files_fill_the_storage_to_its_last_byte(store):
    """Up to the quota and no further, each project for itself; what was deleted makes room."""
    await store.limits.set_quotas("proj_a", Quotas(max_storage_bytes=10))
    first = samples.file(bytes=6)
    await store.files.add(first, samples.file_record())
    await store.files.add(samples.file(bytes=4), samples.file_record())
    with pytest.raises(StorageQuotaReached, match="take 10 of the 10 bytes"):
        await store.files.add(samples.file(bytes=1), samples.file_record())
    await store.files.add(samples.file(bytes=99), samples.file_record("proj_b"))
    await store.files.delete(first.id, project_id="proj_a")
    await store.files.add(samples.file(bytes=6), samples.file_record())


async def test_what_the_server_computed_is_kept_whatever_the_quota(store):
    """A job's result file is counted, never refused."""
    await store.limits.set_quotas("proj_a", Quotas(max_storage_bytes=0))
    await store.files.add(samples.file(purpose="fine-tune-results"), samples.file_record())


async def test_of_uploads_at_once_only_those_that_fit_are_kept(store):
    """Ten at a time, room for three: three are kept."""
    await store.limits.set_quotas("proj_a", Quotas(max_storage_bytes=15))
    adding = [store.files.add(samples.file(), samples.file_record()) for _ in range(10)]
    ended = await asyncio.gather(*adding, return_exceptions=True)
    assert ended.count(None) == 3
    assert sum(isinstance(end, StorageQuotaReached) for end in ended) == 7


async def test_active_jobs_are_counted_and_ended_ones_are_not(store):
    """The refusal says how many run and how many wait."""
    await store.limits.set_quotas("proj_a", Quotas(max_concurrent_jobs=2))
    running, waiting = samples.record(status="running"), samples.record(status="queued")
    await store.jobs.add(running, [])
    await store.jobs.add(waiting, [])
    with pytest.raises(LimitReached, match=r"2 active requests \(1 running, 1 pending\)") as caught:
        await store.jobs.add(samples.record(), [])
    assert caught.value.code == "rate_limit_exceeded"
    done = running.job.model_copy(update={"status": "succeeded", "finished_at": 1})
    await store.jobs.change(
        running.job.id, lambda found: Outcome(record=found.model_copy(update={"job": done}))
    )
    await store.jobs.add(samples.record(), [])


async def test_jobs_of_yesterday_do_not_count_for_today(store):
    """Any 24 hours hold as many jobs as the quota says."""
    await store.limits.set_quotas("proj_a", Quotas(max_jobs_per_day=2))
    now = int(time.time())
    for created_at in (now - 90_000, now - 80_000, now):
        await store.jobs.add(samples.record(created_at=created_at), [])
    with pytest.raises(LimitReached, match="2 fine-tuning requests per day") as caught:
        await store.jobs.add(samples.record(created_at=now), [])
    assert caught.value.code == "daily_rate_limit_exceeded"
    await store.jobs.add(samples.record(created_at=now + 80_000), [])


async def test_no_job_a_day_means_none(store):
    """Zero is a quota like any other."""
    await store.limits.set_quotas("proj_a", Quotas(max_jobs_per_day=0))
    with pytest.raises(LimitReached):
        await store.jobs.add(samples.record(), [])


async def test_limits_are_kept_by_project_and_model(store):
    """What was set last is what is found, and only there."""
    await store.limits.set_rate_limit("proj_a", "nano", Limits(max_requests_per_1_minute=1))
    await store.limits.set_rate_limit("proj_a", "nano", Limits(max_tokens_per_1_minute=2))
    assert await store.limits.rate_limits("proj_a") == {"nano": Limits(max_tokens_per_1_minute=2)}
    assert await store.limits.rate_limits("proj_b") == {}
