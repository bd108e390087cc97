"""Counting what is used: nothing is lost where a process ends in order, and nothing counts twice."""

import asyncio

import pytest

from jobs.job_usage import device_time_counted
from jobs.metering import open_meter
from schemas.errors import StoreUnavailable
from schemas.usage import Used, UsedBy
from tests.jobs.claims_made import claimed
from tests.jobs.usage_read import usage_of_jobs

BY = UsedBy(minute=60, kind="completions", project_id="proj_a", api_key_id="key_1", model="nano")


class SlowRecords:
    """Records that take their time, and may fail."""

    def __init__(self, *, failures=0):
        self.sums = Used()
        self.asked, self.go = asyncio.Event(), asyncio.Event()
        self._failures = failures

    async def add(self, counted):
        self.asked.set()
        await self.go.wait()
        if self._failures:
            self._failures -= 1
            raise StoreUnavailable("away")
        for used in counted.values():
            self.sums += used


async def test_what_is_being_written_at_the_end_counts_once(monkeypatch):
    """A process that stops in the middle of a write finishes it, and writes what came meanwhile."""
    monkeypatch.setattr("jobs.metering._WRITE_EVERY", 0)
    records = SlowRecords()

    async def work():
        async with open_meter(records) as meter:
            meter.count(BY, Used(requests=1))
            await records.asked.wait()
            meter.count(BY, Used(requests=1))

    working = asyncio.create_task(work())
    await records.asked.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not working.done()
    records.go.set()
    await working
    assert records.sums.requests == 2


async def test_what_could_not_be_written_is_written_later(monkeypatch):
    """A database that is away for a while costs nothing."""
    monkeypatch.setattr("jobs.metering._WRITE_EVERY", 0)
    records = SlowRecords(failures=2)
    records.go.set()
    async with open_meter(records) as meter:
        meter.count(BY, Used(requests=1, output_tokens=5))
        async with asyncio.timeout(10):
            while not records.sums.requests:
                await asyncio.sleep(0)
    assert records.sums == Used(requests=1, output_tokens=5)


async def test_time_on_a_device_is_counted_while_it_passes(services, monkeypatch):
    """A killed worker forgets seconds, not hours; and what a job took is told by its name."""
    monkeypatch.setattr("jobs.job_usage._COUNT_EVERY", 0.001)
    claim = await claimed(services)
    async with asyncio.timeout(10), device_time_counted(claim):
        while not (found := await usage_of_jobs(services)):
            await services.meter.write()
    (used,) = found
    assert used.group == {"job_id": claim.job_id, "model": "retune-nano"}
    assert used.used.device_seconds > 0
    assert (used.used.requests, used.used.input_tokens) == (0, 0)


async def test_time_of_a_trainer_that_breaks_off_counts(services):
    """However training ends, the device was taken."""
    claim = await claimed(services)
    with pytest.raises(RuntimeError):
        async with device_time_counted(claim):
            raise RuntimeError
    await services.meter.write()
    (used,) = await usage_of_jobs(services)
    assert used.used.device_seconds > 0
