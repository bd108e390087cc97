"""Records of batches, on SQLite and on Postgres."""

import asyncio
import time

import pytest

from jobs.batch_lifecycle import advance
from jobs.store.batches import BatchOutcome
from jobs.store.migrate import migrate
from jobs.store.records import Fenced
from jobs.store.store import open_store
from jobs.store.webhooks import EndpointRecord
from schemas.errors import BatchNotFound, Conflict, InvalidRequest
from schemas.webhooks import Endpoint
from tests import samples


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


async def claim(store, batch_id, **update):
    asked = {"owner": "worker-a", "now": time.time(), "lease": 30.0} | update
    return await store.batches.claim(batch_id, **asked)


async def test_a_batch_is_kept_as_it_is(store):
    """What is read is what was written, for its own project alone."""
    made = samples.batch_record(metadata={"a": "b"})
    await store.batches.add(made)
    assert await store.batches.get(made.batch.id, project_id="proj_a") == made
    with pytest.raises(BatchNotFound):
        await store.batches.get(made.batch.id, project_id="proj_b")


async def test_batches_are_paged_newest_first(store):
    """Walking `after` meets each once; a foreign id is no cursor."""
    made = [samples.batch_record() for _ in range(5)]
    foreign = samples.batch_record("proj_b")
    for each in [*made, foreign]:
        await store.batches.add(each)
    first = await store.batches.page(project_id="proj_a", limit=3, after=None)
    rest = await store.batches.page(project_id="proj_a", limit=3, after=first.last_id)
    assert [*first.data, *rest.data] == [each.batch for each in reversed(made)]
    assert (first.has_more, rest.has_more) == (True, False)
    with pytest.raises(InvalidRequest):
        await store.batches.page(project_id="proj_a", limit=3, after=foreign.batch.id)


async def test_only_one_of_many_workers_gets_a_batch(store):
    """Ten ask at once; one holds it, and nobody else until its lease is over."""
    made = samples.batch_record()
    await store.batches.add(made)
    taken = await asyncio.gather(*(claim(store, made.batch.id) for _ in range(10)))
    assert len([found for found in taken if found]) == 1
    assert await store.batches.claimable(now=time.time(), limit=9) == []
    assert await store.batches.claimable(now=time.time() + 31, limit=9) == [made.batch.id]


async def test_who_lost_the_claim_writes_nothing(store):
    """The fence is the number of the claim, and holds for the lease too."""
    made = samples.batch_record()
    await store.batches.add(made)
    late = await claim(store, made.batch.id, lease=0.0)
    now = await claim(store, made.batch.id, now=time.time() + 1)
    batch_id = made.batch.id
    with pytest.raises(Fenced):
        await store.batches.change(
            batch_id, lambda found: BatchOutcome(record=found), attempt=late.attempt
        )
    assert not await store.batches.renew(batch_id, attempt=late.attempt, lease_until=0.0)
    assert await store.batches.renew(batch_id, attempt=now.attempt, lease_until=0.0)
    assert not await store.batches.is_mine(batch_id, attempt=late.attempt)
    assert await store.batches.is_mine(batch_id, attempt=now.attempt)
    assert [held.batch.id for held in await store.batches.held()] == [batch_id]


async def test_a_batch_ends_with_its_files_and_its_event_or_not_at_all(store):
    """Where the end is refused, there is no file and nobody is told; then all of it is there."""
    made = samples.batch_record()
    await store.batches.add(made)
    await store.webhooks.add(listener(), project_id="proj_a")
    file, kept = samples.file(purpose="batch_output"), samples.file_record()

    def end(found):
        done = advance(found.batch, "completed", now=2)
        changed = found.model_copy(update={"batch": done})
        return BatchOutcome(record=changed, files=[(file, kept)])

    with pytest.raises(Conflict):
        await store.batches.change(made.batch.id, end)
    for status in ("in_progress", "finalizing"):
        await store.batches.change(made.batch.id, moved(status))
    assert await deliveries(store) == []
    await store.batches.change(made.batch.id, end)
    assert await store.files.get(file.id, project_id="proj_a") == file
    assert await deliveries(store) == ["batch.completed"]
    assert await store.batches.claimable(now=time.time(), limit=9) == []


def moved(status):
    def change(found):
        batch = advance(found.batch, status, now=1)
        return BatchOutcome(record=found.model_copy(update={"batch": batch}))

    return change


def listener():
    """An endpoint that asked to hear of completed batches."""
    endpoint = Endpoint(
        id="we_1",
        created_at=1,
        updated_at=1,
        name="tests",
        url="https://example.com/hook",
        event_types=["batch.completed"],
        signing_secret_hint="whsec_…",
    )
    return EndpointRecord(endpoint=endpoint, secret="whsec_x")


async def deliveries(store):
    now = time.time() + 60
    found = await store.outbox.claim(now=now, lease=1e6, busy=(), limit=9)
    return [delivery.event_type for delivery in found]
