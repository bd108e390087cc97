"""The worker: whatever happens to a claimed job, it does not hang, and nobody works on it twice."""

import asyncio
import os
import time

import pytest

from jobs import events, fine_tuning
from jobs.claims import Claim
from jobs.services import readiness
from jobs.store.records import Fenced, WorkerRecord
from jobs.trainer import TrainerDied, TrainerNeedsLess, TrainerOutOfMemory
from jobs.worker import MAX_INFRA_FAILURES, Worker, see_through
from schemas.errors import JobFailure, ModelServerUnavailable, StoreUnavailable
from tests import samples
from tests.jobs.claims_made import CALLER, claim_again, claimed, ended, messages, raising


async def test_a_failure_of_the_users_ends_the_job(services):
    """Its code, param and words are in the job, and its words are the last event."""
    claim = await claimed(services)
    failure = JobFailure("Example 3 …", code="invalid_training_file", param="training_file")
    await see_through(claim, raising(failure))
    record = await services.store.jobs.get(claim.job_id)
    assert record.job.status == "failed"
    assert record.job.error.model_dump() == {
        "code": "invalid_training_file",
        "message": "Example 3 …",
        "param": "training_file",
    }
    assert record.job.finished_at is not None
    assert (await messages(services, claim.job_id))[-1] == "Example 3 …"


@pytest.mark.parametrize(
    "error",
    [TrainerDied("signal 9"), ModelServerUnavailable("starting"), KeyError("a bug of ours")],
)
async def test_a_failure_of_ours_is_tried_again(services, error):
    """The job stays running, is nobody's, and waits a moment before it is taken up."""
    claim = await claimed(services)
    await see_through(claim, raising(error))
    record = await services.store.jobs.get(claim.job_id)
    assert (record.job.status, record.owner, record.infra_failures) == ("running", None, 1)
    assert record.next_run_at > time.time() + 1
    assert await services.store.jobs.claimable(validating=False, now=time.time()) == []


async def test_what_fails_again_and_again_is_given_up(services):
    """After five more tries the job ends, and says why."""
    claim = await claimed(services)
    for _ in range(MAX_INFRA_FAILURES):
        await see_through(claim, raising(TrainerDied("It was killed.")))
        claim = await claim_again(services, claim.job_id)
    await see_through(claim, raising(TrainerDied("It was killed.")))
    job = (await services.store.jobs.get(claim.job_id)).job
    assert (job.status, job.error.code) == ("failed", "server_error")
    assert "It was killed. It was tried 6 times." in job.error.message


async def test_less_memory_is_no_failure(services):
    """However often it is halved, the job goes on at once, tells of each time, and has its attempts left."""
    claim = await claimed(services)
    for tokens in range(2 * MAX_INFRA_FAILURES):
        await see_through(claim, raising(TrainerNeedsLess(f"At most {tokens} tokens.")))
        (waiting,) = await services.store.jobs.claimable(validating=False, now=time.time())
        assert (waiting.infra_failures, waiting.job.status) == (0, "running")
        claim = await claim_again(services, claim.job_id)
    told = await messages(services, claim.job_id)
    assert told[-2 * MAX_INFRA_FAILURES :] == [f"At most {n} tokens." for n in range(10)]


async def test_less_memory_lets_a_pause_be(services):
    """Where the user wants one, the job pauses, and what happened is told."""
    claim = await claimed(services)
    await fine_tuning.pause(services, CALLER, claim.job_id)
    await see_through(claim, raising(TrainerNeedsLess("At most 512 tokens.")))
    assert (await services.store.jobs.get(claim.job_id)).job.status == "paused"
    assert "At most 512 tokens." in await messages(services, claim.job_id)


async def test_a_base_that_never_loads_is_too_large(services):
    """Ended for memory before there was anything to halve, again and again: the job says what to change."""
    claim = await claimed(services)
    for _ in range(MAX_INFRA_FAILURES):
        await see_through(claim, raising(TrainerOutOfMemory("Memory ran out.")))
        claim = await claim_again(services, claim.job_id)
    await see_through(claim, raising(TrainerOutOfMemory("Memory ran out.")))
    job = (await services.store.jobs.get(claim.job_id)).job
    assert (job.status, job.error.code) == ("failed", "out_of_memory")
    assert "Choose a smaller base" in job.error.message


async def test_cancelling_stops_the_work_within_seconds(services):
    """The work is cancelled though it never looks, and the job stays cancelled."""
    claim = await claimed(services)
    begun = asyncio.Event()
    stopped = []

    async def work(_claim):
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(time.monotonic())

    task = asyncio.create_task(see_through(claim, work))
    await begun.wait()
    began = time.monotonic()
    await fine_tuning.cancel(services, CALLER, claim.job_id)
    await task
    assert stopped[0] - began < 5
    assert claim.is_lost
    job = (await services.store.jobs.get(claim.job_id)).job
    assert job.status == "cancelled"
    assert (await messages(services, claim.job_id))[-1] == "Fine-tuning job cancelled"


async def test_a_worker_that_is_told_to_stop_gives_its_job_back(services):
    """Another may take it at once, and no failure is counted."""
    claim = await claimed(services)
    begun = asyncio.Event()

    async def work(_claim):
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(see_through(claim, work))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await services.store.jobs.get(claim.job_id)
    assert (record.owner, record.infra_failures, record.job.status) == (None, 0, "running")
    assert [
        r.job.id for r in await services.store.jobs.claimable(validating=False, now=time.time())
    ]


async def test_a_late_worker_cannot_end_anothers_job(services):
    """Who lost the claim writes nothing, whatever it thinks happened."""
    late = await claimed(services)
    await claim_again(services, late.job_id)
    await see_through(late, raising(JobFailure("late", code="late")))
    assert (await services.store.jobs.get(late.job_id)).job.status == "running"
    with pytest.raises(Fenced):
        await late.log(events.succeeded())


class UnheardClaim(Claim):
    """A claim whose database does not answer when the end is to be written."""

    async def change(self, _change):
        raise StoreUnavailable("The database does not answer.")


async def test_an_end_that_cannot_be_written_stops_no_worker(services):
    """The slot is free again, and the job is left to its lease; other jobs go on."""
    claim = await claimed(services)
    unheard = UnheardClaim(services, claim.record)
    async with asyncio.timeout(10):
        await Worker(services)._work(unheard, "training", raising(JobFailure("x", code="x")))
    assert (await services.store.jobs.get(claim.job_id)).job.status == "running"


async def test_a_job_is_found_without_redis(services, worker):
    """The message is lost; the sweep finds the job, whose file is gone, and ends it with that."""
    record = samples.record(status="validating_files")
    await services.store.jobs.add(record, [])
    job = await ended(services, record.job.id)
    assert (job.status, job.error.code) == ("failed", "invalid_training_file")


async def test_a_message_wakes_the_worker(services, worker):
    """A kicked job is taken up."""
    record = samples.record(status="validating_files")
    await services.store.jobs.add(record, [])
    assert await services.queue.kick(record.job.id)
    assert (await ended(services, record.job.id)).status == "failed"


async def test_a_worker_makes_the_house_ready(services, worker):
    """Without a worker it is not; with one, each check is ok."""
    async with asyncio.timeout(10):
        while not (found := await readiness(services)).ok:
            await asyncio.sleep(0.05)
    assert set(found.checks) == {"database", "queue", "worker", "base_models"}


async def test_the_jobs_of_a_killed_neighbour_are_taken_at_once(services, worker):
    """A dead process on this machine keeps no lease."""
    child = await asyncio.create_subprocess_exec("true")
    await child.wait()
    await services.store.machines.beat(
        WorkerRecord(id="worker-dead", host=os.uname().nodename, pid=child.pid, seen_at=time.time())
    )
    record = samples.record(status="validating_files").model_copy(
        update={"owner": "worker-dead", "lease_until": time.time() + 1e6, "attempt": 1}
    )
    await services.store.jobs.add(record, [])
    assert (await ended(services, record.job.id)).status == "failed"
