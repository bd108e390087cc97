"""What charts get: few points of many, and none that matters left out."""

import asyncio

import pytest

from jobs import events
from jobs.curves import thinned
from jobs.store.curves import _spread
from jobs.store.job_filter import JobFilter
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import InvalidRequest
from schemas.training import StepDone
from tests import samples
from tests.many_jobs import add_jobs


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


def curve(n: int, **spikes: float) -> list[tuple[int, float]]:
    return [(step, spikes.get(f"at_{step}", 1.0)) for step in range(1, n + 1)]


@pytest.mark.parametrize("points", [2, 3, 10, 99, 100, 1000])
@pytest.mark.parametrize("n", [0, 1, 2, 3, 11, 100, 20_000])
def test_a_curve_has_no_more_points_than_asked_for(n, points):
    """However long it is; its first and last step are among them, and the steps ascend."""
    kept = thinned(curve(n), points)
    assert len(kept) <= points
    assert kept == sorted(set(kept))
    assert kept[:1] == curve(n)[:1]
    assert kept[-1:] == curve(n)[-1:]


def test_no_spike_is_lost():
    """A single high and a single low step of 20,000 are still there among 100 points."""
    kept = thinned(curve(20_000, at_777=9.0, at_778=-9.0, at_15000=5.0), 100)
    assert {(777, 9.0), (778, -9.0), (15_000, 5.0)} <= set(kept)


@pytest.mark.parametrize("last", [1, 2, 39, 40, 41, 20_000])
def test_a_sparkline_is_spread_evenly(last):
    """From the first step to the last, with no step twice."""
    steps = list(_spread(last, 40))
    assert steps == sorted(set(steps))
    assert (steps[0], steps[-1]) == (1, last)
    assert len(steps) == min(last, 40)


async def test_sparklines_of_many_jobs_are_read_at_once(store):
    """Each job's own losses, by step; a job without steps is left out."""
    ids = await add_jobs(store, count=5, steps=100, project_id="proj_a")
    found = await store.curves.losses(ids, points=10)
    assert set(found) == {ids[0], ids[1], ids[2]}
    for losses in found.values():
        steps = [step for step, _ in losses]
        assert steps == [1, 12, 23, 34, 45, 56, 67, 78, 89, 100]
        assert losses[0][1] > losses[-1][1] > 0


async def test_a_page_reads_on_where_it_stopped(store):
    """After an event only the steps that were told since; after another job's it is refused."""
    ids = await add_jobs(store, count=2, steps=5, project_id="proj_a", statuses=["running"])
    told = await store.curves.steps(ids[0])
    assert len(told.events) == 5
    assert told.last_id is not None
    assert (await store.curves.steps(ids[0], after=told.last_id)).events == []
    with pytest.raises(InvalidRequest):
        await store.curves.steps(ids[1], after=told.last_id)


async def test_a_number_that_is_none_breaks_no_sparkline(store):
    """A loss that was not finite is left out of the drawing."""
    record = samples.record()
    told = [
        events.step_done(step(number, loss))
        for number, loss in enumerate((2.0, float("nan"), 1.0), 1)
    ]
    await store.jobs.add(record, told)
    assert (await store.curves.losses([record.job.id], points=9))[record.job.id] == [
        (1, 2.0),
        (3, 1.0),
    ]


def step(number: int, loss: float) -> StepDone:
    return StepDone(
        step=number, total_steps=3, train_loss=loss, train_mean_token_accuracy=0.5,
        learning_rate=0.1, grad_norm=1.0, grad_clipped=False, tokens=1, seconds=1.0,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("BANK", [1]),
        ("ftjob-", [0, 1, 2]),
        ("ft:nano", [2]),
        ("100%", [0]),
        ("%", [0]),
        ("_", []),
        ('"', []),
        ("nowhere", []),
    ],
)
async def test_jobs_are_found_by_what_people_call_them(store, search, found):
    """By part of an id, suffix or model, in any case of letters; nothing in a search is a wildcard."""
    made = [
        samples.record(user_provided_suffix="100%", metadata={"a": "bank"}),
        samples.record(user_provided_suffix="my-Bank"),
        samples.record(fine_tuned_model="ft:nano:local::1"),
    ]
    for number, record in enumerate(made):
        made[number] = record.model_copy(
            update={"job": record.job.model_copy(update={"id": f"ftjob-{number}", "model": "base"})}
        )
        await store.jobs.add(made[number], [])
    page = await store.jobs.page(project_id="proj_a", limit=9, wanted=JobFilter(search=search))
    assert sorted(job.id for job in page.data) == [f"ftjob-{number}" for number in found]


async def test_jobs_are_counted_by_status(store):
    """Each status that occurs, of those that are wanted, of this project alone."""
    await add_jobs(store, count=10, steps=0, project_id="proj_a", suffix="x")
    await add_jobs(store, count=5, steps=0, project_id="proj_b")
    counted = await store.jobs.counts(project_id="proj_a", wanted=JobFilter(search="x-9"))
    assert counted == {"cancelled": 1}
    counted = await store.jobs.counts(project_id="proj_a", wanted=JobFilter())
    assert counted == {"succeeded": 2, "running": 2, "failed": 2, "queued": 2, "cancelled": 2}


async def test_older_jobs_come_first(store):
    """A job's place in the queue counts those that wait for longer, whosever they are."""
    ids = await add_jobs(store, count=4, steps=0, project_id="proj_a", statuses=["queued"])
    other, *_ = await add_jobs(store, count=1, steps=0, project_id="proj_b", statuses=["queued"])
    assert [await store.jobs.waiting_before(id) for id in [*ids, other]] == [0, 1, 2, 3, 4]


async def test_a_change_is_told_apart(store):
    """A new job, another status and another event each give another token; looking again gives the same."""
    (job_id,) = await add_jobs(store, count=1, steps=1, project_id="proj_a", statuses=["running"])

    async def tokens() -> tuple[str, str]:
        changes = store.job_changes
        of_job = await changes.of_job(job_id, project_id="proj_a")
        return await changes.of_project("proj_a"), of_job

    before = await tokens()
    assert await tokens() == before
    await store.jobs.change(
        job_id, lambda found: Outcome(record=found, events=[events.step_done(step(2, 1.0))])
    )
    after_step = await tokens()
    assert after_step[0] != before[0]
    assert after_step[1] != before[1]
    await add_jobs(store, count=1, steps=0, project_id="proj_a")
    after_job = await tokens()
    assert after_job[0] != after_step[0]
    assert after_job[1] == after_step[1]
    assert await store.job_changes.of_job(job_id, project_id="proj_b") not in after_job
