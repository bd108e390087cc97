"""What a fine-tuning job uses: on whom it is counted, and the time for which it holds a device."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from jobs.claims import Claim
from jobs.store.records import JobRecord
from schemas.usage import Used, UsedBy

_COUNT_EVERY: Final = 10.0
"""Seconds of a device that a killed worker forgets, at most."""


@asynccontextmanager
async def device_time_counted(claim: Claim) -> AsyncGenerator[None]:
    """Count the time that the body takes, while it passes and however it ends."""
    counted_until = time.monotonic()

    def count() -> None:
        nonlocal counted_until
        now = time.monotonic()
        by = used_by(claim.record, now=time.time())
        claim.services.meter.count(by, Used(device_seconds=now - counted_until))
        counted_until = now

    async def count_on() -> None:
        while True:
            await asyncio.sleep(_COUNT_EVERY)
            count()

    counting = asyncio.create_task(count_on())
    try:
        yield
    finally:
        counting.cancel()
        count()


def used_by(record: JobRecord, *, now: float) -> UsedBy:
    """Return on whom a job's usage is counted at `now`, in Unix seconds.

    Its model is the one that the job was created with: a base, its alias, or a tuned model.
    """
    return UsedBy(
        minute=int(now) // 60 * 60,
        kind="fine_tuning",
        project_id=record.project_id,
        api_key_id="",
        model=record.job.model,
        job_id=record.job.id,
    )
