"""One request makes one thing: the records' rules, on SQLite and on Postgres."""

import asyncio
import time

import pytest

from jobs.store.idempotency import Answer, Attempt
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import IdempotencyKeyReused, StillAtWork
from tests import samples

NOW = time.time()


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


def attempt(**update) -> Attempt:
    fields = {
        "project_id": "proj_a",
        "key_id": "key_a",
        "request_sha256": "a" * 64,
        "began_at": NOW,
    }
    return Attempt(**fields | update)


async def test_a_key_is_held_answered_and_kept(store):
    """Who holds a key works alone; its first answer stays, whoever else finishes later."""
    asked = attempt(idempotency_key="k")
    assert await store.idempotency.begin(asked, holder="req_1", hold=20) is None
    with pytest.raises(StillAtWork):
        await store.idempotency.begin(asked, holder="req_2", hold=20)
    with pytest.raises(IdempotencyKeyReused):
        other = attempt(idempotency_key="k", request_sha256="b" * 64)
        await store.idempotency.begin(other, holder="req_3", hold=20)
    await store.idempotency.release(asked, holder="req_2")  # not its own
    first = Answer(status=200, body="{}")
    await store.idempotency.finish(asked, first)
    await store.idempotency.finish(asked, Answer(status=200, body='{"later": true}'))
    await store.idempotency.release(asked, holder="req_1")
    assert await store.idempotency.begin(asked, holder="req_4", hold=20) == first
    elsewhere = asked.model_copy(update={"project_id": "proj_b"})
    assert await store.idempotency.begin(elsewhere, holder="req_5", hold=20) is None


async def test_a_killed_holder_keeps_nobody_out_for_long(store):
    """After its hold the key is another's; a released one at once."""
    asked = attempt(idempotency_key="k")
    await store.idempotency.begin(asked, holder="req_1", hold=20)
    later = asked.model_copy(update={"began_at": NOW + 21})
    assert await store.idempotency.begin(later, holder="req_2", hold=20) is None
    await store.idempotency.release(later, holder="req_2")
    assert await store.idempotency.begin(later, holder="req_3", hold=20) is None


async def test_answers_go_after_a_day(store):
    """What is older than 24 hours is forgotten, what is younger stays."""
    for key, age in (("old", 25), ("young", 23)):
        asked = attempt(idempotency_key=key, began_at=NOW - age * 3600)
        await store.idempotency.begin(asked, holder="req_1", hold=20)
        await store.idempotency.finish(asked, Answer(status=200, body="{}"))
    await store.idempotency.forget(now=NOW)
    assert await store.idempotency.begin(attempt(idempotency_key="old"), holder="r", hold=1) is None
    assert await store.idempotency.begin(attempt(idempotency_key="young"), holder="r", hold=1)


async def test_a_job_and_its_answer_are_one(store):
    """As soon as a job is recorded its key answers with it, though nobody has finished the request."""
    asked = attempt(idempotency_key="k")
    record = samples.record()
    await store.idempotency.begin(asked, holder="req_1", hold=0)
    await store.jobs.add(record, [], attempt=asked)
    answer = await store.idempotency.begin(asked, holder="req_2", hold=20)
    assert answer == Answer(status=200, body=record.job.model_dump_json())
    slow = samples.record()
    assert await store.jobs.add(slow, [], attempt=asked) == record.job


@pytest.mark.parametrize(
    ("first", "second", "is_one"),
    [
        ((0, 0), (1, 1), True),  # a retry
        ((0, 0), (0, 1), False),  # somebody asks anew
        ((0, 0), (1, 599), True),
        ((0, 0), (1, 601), False),  # nothing retries for so long
        ((1, 5), (0, 0), True),  # a retry overtook the first try
        ((0, 5), (0, 0), False),  # two who ask the same
        ((1, 0), (0, 5), False),
        ((2, 5), (1, 0), True),
    ],
)
async def test_which_tries_are_one_request(store, first, second, is_one):
    """By the count of retries and the second in which each began, in the order in which they are recorded."""
    made = []
    for retry_count, seconds in (first, second):
        asked = attempt(retry_count=retry_count, began_at=NOW + seconds)
        made.append((await store.jobs.add(samples.record(), [], attempt=asked)).id)
    assert (made[0] == made[1]) is is_one
    page = await store.jobs.page(project_id="proj_a", limit=9)
    assert len(page.data) == (1 if is_one else 2)


async def test_tries_at_once_make_one_job(store):
    """However many retries are recorded at the same time."""
    tries = (attempt(retry_count=count, began_at=NOW) for count in range(1, 9))
    adding = (store.jobs.add(samples.record(), [], attempt=asked) for asked in tries)
    assert len({job.id for job in await asyncio.gather(*adding)}) == 1
