"""Mirrors of a job: what they are told, and that nothing they do stops the job."""

import asyncio
import json
import os

import pytest

from jobs import events
from jobs.reports.runner import summary_of
from jobs.wandb_mirror import add_to_summaries, mirrored
from schemas.errors import JobFailure
from schemas.fine_tuning import Integration, WandbIntegration
from schemas.training import StepDone
from tests.jobs.claims_made import claimed, messages
from tests.samples import job_report


def step(number):
    return events.step_done(
        StepDone(
            step=number,
            total_steps=3,
            train_loss=1 / number,
            train_mean_token_accuracy=0.5,
            learning_rate=0.1,
            grad_norm=1.0,
            tokens=10,
            seconds=0.01,
        )
    )


async def claimed_with(services, project):
    wandb = WandbIntegration(project=project, tags=["mine"], run_id="ftjob-1")
    claim = await claimed(services, integrations=[Integration(wandb=wandb)])
    (services.settings.data_dir / "wandb").mkdir()
    return claim


def mirror_of(claim, **options):
    return mirrored(claim, module="tests.stand_in_mirror", **options)


def lines(services):
    text = (services.settings.data_dir / "wandb" / "lines").read_text()
    return [json.loads(line) for line in text.splitlines()]


async def until_told(services, claim, words):
    async with asyncio.timeout(10):
        while not any(words in message for message in await messages(services, claim.job_id)):
            await asyncio.sleep(0.02)


async def test_every_step_is_mirrored_also_those_before_it_was_taken_up(services):
    """First the run, then what SQL holds of an earlier attempt, then what happens, then the end."""
    claim = await claimed_with(services, "good")
    await claim.log(step(1))
    async with mirror_of(claim) as mirror:
        mirror.add([step(2).event, events.started().event])
        mirror.succeeded("ft:m")
    start, *steps, end = lines(services)
    base, job_id = claim.record.job.model, claim.job_id
    assert (start["run_id"], start["name"]) == ("ftjob-1", job_id)
    assert start["tags"] == ["openai/finetune", f"openai/{base}", f"openai/{job_id}", "mine"]
    assert [(line["step"], line["metrics"]["train_loss"]) for line in steps] == [(1, 1.0), (2, 0.5)]
    assert (end["outcome"], end["summary"]) == ("succeeded", {"fine_tuned_model": "ft:m"})


async def test_what_is_found_after_the_end_joins_the_summary(services):
    """In the same run, without a word in the log of a job that is over."""
    claim = await claimed_with(services, "good")
    await add_to_summaries(
        claim.record.job,
        summary_of(job_report()),
        directory=services.settings.data_dir / "wandb",
        module="tests.stand_in_mirror",
    )
    start, end = lines(services)
    assert start["run_id"] == "ftjob-1"
    assert end["outcome"] == "succeeded"
    assert end["summary"]["report/verdict"] == "cannot_tell"
    assert (end["summary"]["report/tuned"], end["summary"]["report/n"]) == (0.75, 8)
    assert end["summary"]["report/source"] == "validation_file"
    assert len(await messages(services, claim.job_id)) == 1


async def test_the_user_is_told_where_the_mirror_is(services):
    """The address is in the job's log."""
    claim = await claimed_with(services, "good")
    async with mirror_of(claim):
        await until_told(services, claim, "https://wandb.example/run")


@pytest.mark.parametrize(
    ("behaviour", "words"), [("failing", "No API key."), ("silent", "ended without a word")]
)
async def test_a_mirror_that_breaks_is_a_warning(services, behaviour, words):
    """The job goes on, and its log says what is wrong."""
    claim = await claimed_with(services, behaviour)
    async with mirror_of(claim) as mirror:
        await until_told(services, claim, words)
        mirror.add([step(1).event])
    (told,) = (await services.store.jobs.events(claim.job_id, limit=1, after=None)).data
    assert told.level == "warn"


@pytest.mark.parametrize(
    ("error", "outcome"),
    [(JobFailure("no", code="diverged"), "failed"), (OSError(), "interrupted")],
)
async def test_a_mirror_hears_how_the_job_ended(services, error, outcome):
    """Failed, or to be taken up again."""
    claim = await claimed_with(services, "good")
    with pytest.raises(type(error)):
        async with mirror_of(claim):
            raise error
    assert lines(services)[-1]["outcome"] == outcome


async def test_a_mirror_that_hangs_is_ended(services):
    """Its job waits for it no longer than it must."""
    claim = await claimed_with(services, "hanging")
    pid_path = services.settings.data_dir / "wandb" / "pid"
    async with mirror_of(claim, grace=0.1):
        async with asyncio.timeout(10):
            while not (pid_path.exists() and pid_path.read_text()):
                await asyncio.sleep(0.02)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_path.read_text()), 0)


async def test_a_mirror_outlives_the_claim_of_a_job_that_is_over(services):
    """The work is cancelled as soon as the job is nobody's; the last metrics are mirrored all the same."""
    claim = await claimed_with(services, "good")

    async def work():
        async with mirror_of(claim) as mirror:
            mirror.add([step(1).event])
            mirror.succeeded("ft:m")
            asyncio.get_running_loop().call_soon(task.cancel)

    task = asyncio.create_task(work())
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [line["kind"] for line in lines(services)] == ["start", "step", "end"]


async def test_a_job_without_integrations_starts_nothing(services):
    """And can be told of steps all the same."""
    claim = await claimed(services)
    async with mirrored(claim, module="tests.no_such_module") as mirror:
        mirror.add([step(1).event])
    assert len(await messages(services, claim.job_id)) == 1
