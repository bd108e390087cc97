"""Claims on jobs, and work for them, as a worker's tests need them."""

import asyncio
import time

from jobs import events
from jobs.claims import Claim
from jobs.keys import Caller
from jobs.store.jobs import Outcome
from tests import samples

CALLER = Caller(project_id="proj_a", organization_id="local", key_id="key_1")


async def claimed(services, **update):
    record = samples.record(**update)
    await services.store.jobs.add(record, [events.created(record.job.id)])
    return await claim_again(services, record.job.id)


async def claim_again(services, job_id, *, now=None, validating=False):
    record = await services.store.jobs.claim(
        job_id,
        lambda r: Outcome(record=r if validating else running(r)),
        owner="worker-test",
        validating=validating,
        now=time.time() + 1e6 if now is None else now,
        lease=0.0,
    )
    return Claim(services, record)


def running(record):
    return record.model_copy(update={"job": record.job.model_copy(update={"status": "running"})})


def raising(error):
    async def work(_claim):
        raise error

    return work


async def messages(services, job_id):
    told = await services.store.jobs.events(job_id, limit=50, after=None)
    return [event.message for event in reversed(told.data)]


async def ended(services, job_id, seconds=20):
    async with asyncio.timeout(seconds):
        while not (job := (await services.store.jobs.get(job_id)).job).finished_at:
            await asyncio.sleep(0.05)
    return job
