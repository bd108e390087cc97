"""What a pause makes of a job, and that no worker, dead or alive, loses one."""

import asyncio
import time

import pytest

from jobs import fine_tuning
from jobs.dataset_report import DatasetReport
from jobs.pausing import ask_to_pause, ask_to_resume
from jobs.store.jobs import Outcome
from jobs.trainer import TrainerDied, TrainerLeft
from jobs.validation import _queued
from jobs.worker import see_through
from schemas.errors import InvalidRequest, JobFailure
from tests import samples
from tests.jobs.claims_made import CALLER, claim_again, claimed, messages, raising


async def added(services, **update):
    record = samples.record().model_copy(update=update)
    await services.store.jobs.add(record, [])
    return record.job.id


async def pause(services, job_id):
    return await fine_tuning.pause(services, CALLER, job_id)


async def resume(services, job_id):
    return await fine_tuning.resume(services, CALLER, job_id)


async def until_paused(services, job_id, seconds=10):
    async with asyncio.timeout(seconds):
        while (await services.store.jobs.get(job_id)).job.status != "paused":
            await asyncio.sleep(0.05)


async def test_a_job_that_waits_is_paused_at_once(services):
    """Nobody has to save anything; no worker takes it until it is resumed."""
    job_id = await added(services)
    assert (await pause(services, job_id)).status == "paused"
    assert await services.store.jobs.claimable(validating=False, now=time.time()) == []
    assert (await resume(services, job_id)).status == "queued"
    (waiting,) = await services.store.jobs.claimable(validating=False, now=time.time())
    assert waiting.job.id == job_id
    assert await messages(services, job_id) == ["Fine-tuning job paused", "Fine-tuning job resumed"]


async def test_a_pause_is_heard_by_who_works(services):
    """The worker's act is called within seconds; the job is running until the work has ended."""
    claim = await claimed(services)
    heard = asyncio.Event()

    async def work(claim):
        with claim.on_pause(heard.set):
            await heard.wait()
        assert (await services.store.jobs.get(claim.job_id)).job.status == "running"
        raise TrainerLeft

    task = asyncio.create_task(see_through(claim, work))
    assert (await pause(services, claim.job_id)).status == "running"
    assert (await pause(services, claim.job_id)).status == "running"
    async with asyncio.timeout(10):
        await task
    record = await services.store.jobs.get(claim.job_id)
    assert (record.job.status, record.owner, record.is_pausing) == ("paused", None, False)
    assert record.infra_failures == 0
    assert (await messages(services, claim.job_id))[-2:] == [
        "Pausing the fine-tuning job as soon as its training is saved",
        "Fine-tuning job paused",
    ]


@pytest.mark.parametrize("error", [TrainerDied("signal 15"), OSError("disk"), KeyError("a bug")])
async def test_what_breaks_while_a_job_pauses_pauses_it(services, error):
    """It has a resume point; whoever resumes it finds out whether the trouble is over."""
    claim = await claimed(services)
    await pause(services, claim.job_id)
    await see_through(claim, raising(error))
    assert (await services.store.jobs.get(claim.job_id)).job.status == "paused"


async def test_a_failure_of_the_users_comes_before_a_pause(services):
    """There is nothing to resume."""
    claim = await claimed(services)
    await pause(services, claim.job_id)
    await see_through(claim, raising(JobFailure("no", code="diverged")))
    assert (await services.store.jobs.get(claim.job_id)).job.status == "failed"
    with pytest.raises(
        InvalidRequest, match="Cannot resume a fine-tuning job with status 'failed'"
    ):
        await resume(services, claim.job_id)


async def test_a_pause_taken_back_lets_the_job_go_on(services):
    """The trainer may have gone already: the job is free for the next worker, with no failure counted."""
    claim = await claimed(services)
    await pause(services, claim.job_id)
    assert (await resume(services, claim.job_id)).status == "running"
    await see_through(claim, raising(TrainerLeft()))
    (waiting,) = await services.store.jobs.claimable(validating=False, now=time.time())
    assert (waiting.job.status, waiting.infra_failures) == ("running", 0)


async def test_a_job_whose_worker_fell_silent_is_paused_by_asking(services):
    """Its lease has run out: nobody works on it, and a late worker is fenced off."""
    claim = await claimed(services)
    await claim.change(
        lambda r: Outcome(record=r.model_copy(update={"lease_until": time.time() - 1}))
    )
    assert (await pause(services, claim.job_id)).status == "paused"
    assert await services.store.jobs.hold(claim.job_id, attempt=claim.record.attempt) == "lost"


async def test_a_job_whose_worker_dies_before_it_hears_is_paused_by_the_next(services, worker):
    """The wish is in the record: no worker trains on, one of them pauses the job."""
    record = samples.record(status="running").model_copy(
        update={"owner": "worker-dead", "lease_until": time.time() + 0.5, "attempt": 1}
    )
    await services.store.jobs.add(record, [])
    assert (await pause(services, record.job.id)).status == "running"
    await until_paused(services, record.job.id)
    assert (await services.store.jobs.get(record.job.id)).attempt == 1


async def test_files_are_looked_at_before_a_job_pauses(services):
    """A pause that comes before validation waits for its result."""
    job_id = await added(services, job=samples.job(status="validating_files"))
    assert (await pause(services, job_id)).status == "validating_files"
    (waiting,) = await services.store.jobs.claimable(validating=True, now=time.time())
    outcome = _queued(waiting, DatasetReport(n_examples=12), [])
    assert outcome.record.job.status == "paused"
    assert outcome.record.plan.n_examples == 12
    assert [new.event.message for new in outcome.events] == [
        "Files validated, moving job to queued state",
        "Fine-tuning job paused",
    ]


async def test_a_worker_that_stops_while_files_are_looked_at_loses_no_pause(services):
    """The files still have to be looked at; the wish stays."""
    record = samples.record(status="validating_files")
    await services.store.jobs.add(record, [])
    await pause(services, record.job.id)
    claim = await claim_again(services, record.job.id, validating=True)
    await see_through(claim, raising(OSError("disk")))
    found = await services.store.jobs.get(record.job.id)
    assert (found.job.status, found.is_pausing) == ("validating_files", True)


async def test_a_paused_job_can_be_cancelled(services):
    """And then it is over."""
    job_id = await added(services)
    await pause(services, job_id)
    assert (await fine_tuning.cancel(services, CALLER, job_id)).status == "cancelled"
    with pytest.raises(
        InvalidRequest, match="Cannot resume a fine-tuning job with status 'cancelled'"
    ):
        await resume(services, job_id)


@pytest.mark.parametrize("status", ["paused", "succeeded", "failed", "cancelled"])
def test_what_cannot_pause_says_so(status):
    """In the words that cancelling has for it."""
    with pytest.raises(
        InvalidRequest, match=f"Cannot pause a fine-tuning job with status '{status}'"
    ):
        ask_to_pause(samples.record(status=status), now=0.0)


@pytest.mark.parametrize("status", ["validating_files", "queued", "running", "succeeded"])
def test_what_is_not_paused_cannot_be_resumed(status):
    """A resume says which status the job has."""
    with pytest.raises(InvalidRequest, match=f"Cannot resume .* with status '{status}'"):
        ask_to_resume(samples.record(status=status))


def test_resuming_forgets_what_broke_before():
    """The job is tried as if for the first time, at once, and has no estimate while it waits."""
    broken = samples.record(status="running", estimated_finish=99).model_copy(
        update={"infra_failures": 4, "next_run_at": 1e12}
    )
    paused = ask_to_pause(broken, now=1.0).record
    assert paused.job.estimated_finish is None
    resumed = ask_to_resume(paused).record
    assert (resumed.infra_failures, resumed.next_run_at) == (0, 0.0)
