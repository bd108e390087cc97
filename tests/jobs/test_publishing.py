"""The last step of a job: all of it, or nothing that shows."""

import asyncio
import time

import pytest

from jobs.claims import Claim
from jobs.engines import AdapterRef
from jobs.publishing import _succeed, result_csv
from jobs.services import open_services
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.records import Fenced
from schemas.fine_tuning import Event
from schemas.training import ModelChosen, TrainingDone
from tests import samples
from tests.jobs.usage_read import usage_of_jobs

DONE = TrainingDone(trained_tokens=30, loss_tokens=10)


@pytest.fixture
async def services(settings):
    """Real records and blobs; nothing else is asked."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_services(settings) as opened:
        yield opened


async def claimed(services, kind=Claim):
    """A running job that is ours."""
    record = samples.record(status="running")
    await services.store.jobs.add(record, [])
    taken = await services.store.jobs.claim(
        record.job.id,
        lambda r: Outcome(record=r),
        owner="worker-test",
        validating=False,
        now=time.time(),
        lease=30.0,
    )
    return kind(services, taken)


async def succeed(claim, directory):
    """Publish an adapter that was proven."""
    chosen = ModelChosen(step=3, adapter_dir=directory, message=None)
    await _succeed(claim, chosen, DONE, AdapterRef("adapter-1", directory), [])


async def result_files(services):
    """What the project can see."""
    page = await services.store.files.page(
        project_id="proj_a", purpose="fine-tune-results", limit=9, after=None, order="desc"
    )
    return page.data


class CancelledAfterCommit(Claim):
    """A claim that is cancelled when its change is in the database, but has not returned."""

    async def change(self, change):
        await super().change(change)
        raise asyncio.CancelledError


async def test_a_cancellation_after_the_commit_takes_nothing_back(services, tmp_path):
    """The job has succeeded, and the file that it names is there."""
    claim = await claimed(services, CancelledAfterCommit)
    with pytest.raises(asyncio.CancelledError):
        await succeed(claim, tmp_path)
    job = (await services.store.jobs.get(claim.job_id)).job
    assert job.status == "succeeded"
    (file,) = await result_files(services)
    assert job.result_files == [file.id]
    assert services.blobs.file_path(file.id).exists()
    (used,) = await usage_of_jobs(services)
    assert used.group == {"job_id": claim.job_id, "model": job.model}
    assert (used.used.requests, used.used.input_tokens) == (1, 30)


async def test_what_was_not_committed_leaves_no_file(services, tmp_path):
    """Another worker took the job over: neither a model nor a result file shows."""
    claim = await claimed(services)
    await services.store.jobs.change(
        claim.job_id, lambda r: Outcome(record=r.model_copy(update={"attempt": r.attempt + 1}))
    )
    with pytest.raises(Fenced):
        await succeed(claim, tmp_path)
    assert await result_files(services) == []
    assert await services.store.models.all_of("proj_a") == []
    assert await usage_of_jobs(services) == []


def test_the_result_file_leaves_cells_empty():
    """A row a step, in OpenAI's columns; what was not measured is empty, not null."""
    data = {"step": 1, "train_loss": 1.52347, "train_mean_token_accuracy": 0.0}
    event = Event(id="ftevent-1", created_at=1, message="Step 1/1", type="metrics", data=data)
    assert result_csv([event]).decode() == (
        "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,1.52347,0.0,,\n"
    )
