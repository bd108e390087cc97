"""Rate limits: counted exactly, shared by processes, and no reason to fail where Redis is away."""

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from redis.asyncio import Redis

from jobs.keys import Caller
from jobs.limits.bucket import Bucket
from jobs.limits.limiter import Limiter, go_duration
from jobs.limits.shares import Shares
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import RateLimited
from schemas.limits import Limits

ALICE = Caller(project_id="proj_a", organization_id="local", key_id="key_a")


@pytest.fixture
async def store(settings):
    """A store with nothing in it."""
    settings.data_dir.mkdir()
    migrate(settings.effective_database_url)
    async with open_store(settings.effective_database_url) as store:
        yield store


@asynccontextmanager
async def limiter(store, settings, redis_url, **limits):
    """A limiter as a process has it, with limits for each key."""
    redis = Redis.from_url(redis_url)
    try:
        yield Limiter(store.limits, settings.model_copy(update=limits), Shares(redis))
    finally:
        await redis.aclose()


async def admitted(limiter, times, *, tokens=0, model="nano"):
    """How many of so many requests pass."""
    passed = 0
    for _ in range(times):
        try:
            await limiter.admit(ALICE, model, tokens=lambda: tokens)
        except RateLimited:
            continue
        passed += 1
    return passed


def test_bucket_fills_at_its_rate():
    """An empty bucket of 60 a minute has one after a second, and never more than 60."""
    bucket = Bucket.full(60, 60, now=0)
    assert bucket.take(100, now=0) == 60
    assert bucket.take(5, now=1) == pytest.approx(1)
    assert bucket.take(100, now=1000) == 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.017, "17ms"), (1, "1s"), (1.5, "1.5s"), (360, "6m0s"), (432, "7m12s"), (7265, "2h1m5s")],
)
def test_durations_are_gos(seconds, text):
    """Resets are written as OpenAI writes them."""
    assert go_duration(seconds) == text


async def test_nothing_is_limited_where_no_limit_is(store, settings, redis_url):
    """Without a limit there is no allowance, and Redis is not asked."""
    async with limiter(store, settings, redis_url) as unlimited:
        assert await unlimited.admit(ALICE, "nano", tokens=lambda: 10**9) is None


@pytest.mark.parametrize("most", [3, 200])
async def test_as_many_as_allowed(store, settings, redis_url, most):
    """So many requests pass as the limit says, and the next is refused in OpenAI's words."""
    async with limiter(store, settings, redis_url, requests_per_minute=most) as limited:
        passed = await admitted(limited, most)
        assert passed == most
        with pytest.raises(
            RateLimited, match=rf"requests per min \(RPM\): Limit {most}, Used"
        ) as refused:
            for _ in range(most):  # a little time has passed
                await limited.admit(ALICE, "nano", tokens=lambda: 0)
    assert refused.value.type == "requests"
    assert 0 < refused.value.retry_after <= 60 / most
    assert refused.value.headers["x-ratelimit-limit-requests"] == str(most)
    assert refused.value.headers["x-ratelimit-remaining-requests"] == "0"


async def test_two_processes_share_a_limit(store, settings, redis_url):
    """What one process let pass, another does not again."""
    async with (
        limiter(store, settings, redis_url, requests_per_minute=10) as first,
        limiter(store, settings, redis_url, requests_per_minute=10) as second,
    ):
        assert await admitted(first, 6) + await admitted(second, 10) == 10


async def test_tokens_are_set_right_afterwards(store, settings, redis_url):
    """An answer that took more than was guessed leaves less for the next; one that took less gives back."""
    async with limiter(store, settings, redis_url, tokens_per_minute=1000) as limited:
        first = await limited.admit(ALICE, "nano", tokens=lambda: 400)
        first.settle(tokens=100)
        second = await limited.admit(ALICE, "nano", tokens=lambda: 800)
        second.settle(tokens=2000)
        with pytest.raises(RateLimited, match=r"tokens per min \(TPM\)"):
            await limited.admit(ALICE, "nano", tokens=lambda: 10)


async def test_larger_than_the_limit(store, settings, redis_url):
    """A request that no full bucket could pass is told so, not to wait."""
    async with limiter(store, settings, redis_url, tokens_per_minute=100) as limited:
        with pytest.raises(RateLimited, match="Request too large"):
            await limited.admit(ALICE, "nano", tokens=lambda: 101)
        assert await admitted(limited, 1, tokens=100) == 1


async def test_a_refusal_costs_nothing(store, settings, redis_url):
    """Where tokens are refused, the request is not counted."""
    async with limiter(
        store, settings, redis_url, requests_per_minute=2, tokens_per_minute=10
    ) as limited:
        assert await admitted(limited, 5, tokens=100) == 0
        assert await admitted(limited, 2, tokens=1) == 2


async def test_limits_of_a_project_on_one_model(store, settings, redis_url):
    """A project's limit holds for its model alone, and for no other project."""
    await store.limits.set_rate_limit("proj_a", "nano", Limits(max_requests_per_1_minute=1))
    async with limiter(store, settings, redis_url) as limited:
        assert await admitted(limited, 3) == 1
        assert await admitted(limited, 3, model="other") == 3
        other = ALICE.model_copy(update={"project_id": "proj_b"})
        assert await limited.admit(other, "nano", tokens=lambda: 0) is None


async def test_without_redis(store, settings, short_tmp_path):
    """Where Redis does not answer, the process counts by itself, and quickly."""
    nowhere = f"unix://{short_tmp_path}/none.sock"
    async with limiter(store, settings, nowhere, requests_per_minute=5) as limited:
        began = time.monotonic()
        assert await admitted(limited, 50) == 5
        assert time.monotonic() - began < 5


async def test_uploads(store, settings, redis_url):
    """A key that uploads more than its share of a minute waits; one file may be larger than a minute's worth."""
    async with limiter(store, settings, redis_url, upload_bytes_per_minute=1000) as limited:
        await limited.admit_upload(ALICE, 5000)
        with pytest.raises(RateLimited, match="uploaded bytes per min"):
            await limited.admit_upload(ALICE, 1)


async def test_bytes_that_nobody_announced(store, settings, redis_url):
    """They count once they are known; until then a key that owes nothing may send."""
    async with limiter(store, settings, redis_url, upload_bytes_per_minute=1000) as limited:
        await limited.admit_upload(ALICE, 0)
        limited.count_upload(ALICE, 5000)
        with pytest.raises(RateLimited) as refused:
            await limited.admit_upload(ALICE, 0)
        assert refused.value.headers == {}
        await limited.admit_upload(ALICE.model_copy(update={"key_id": "key_b"}), 0)


async def test_what_is_too_large_takes_nothing(store, settings, redis_url):
    """However often it is asked, it neither passes nor uses up what others may have."""
    async with (
        limiter(store, settings, redis_url, tokens_per_minute=600) as asked,
        limiter(store, settings, redis_url, tokens_per_minute=600) as other,
    ):
        assert await admitted(asked, 50, tokens=601) == 0
        assert await admitted(other, 1, tokens=600) == 1


async def test_a_debt_is_paid_before_anything_passes(store, settings, redis_url):
    """An answer far larger than guessed keeps the next requests waiting for more than one minute's worth."""
    async with limiter(store, settings, redis_url, tokens_per_minute=1000) as limited:
        first = await limited.admit(ALICE, "nano", tokens=lambda: 0)
        first.settle(tokens=3000)
        with pytest.raises(RateLimited) as refused:
            await limited.admit(ALICE, "nano", tokens=lambda: 10)
    assert refused.value.retry_after > 60


async def test_a_limit_that_is_taken_back_holds_no_more(store, settings, redis_url, monkeypatch):
    """Within the seconds for which limits are remembered, and without a restart."""
    monkeypatch.setattr("jobs.limits.limiter._LIMITS_KNOWN_FOR", 0)
    await store.limits.set_rate_limit("proj_a", "nano", Limits(max_requests_per_1_minute=1))
    async with limiter(store, settings, redis_url) as limited:
        assert await admitted(limited, 3) == 1
        await store.limits.set_rate_limit("proj_a", "nano", Limits())
        assert await limited.admit(ALICE, "nano", tokens=lambda: 0) is None
        await store.limits.set_rate_limit("proj_a", "nano", Limits(max_requests_per_1_minute=4))
        assert await admitted(limited, 9) in {3, 4}  # with another capacity the bucket begins anew


async def test_more_buckets_than_are_remembered(store, settings, redis_url, monkeypatch):
    """A process with many keys forgets its shares, not what was used: no key passes more than its limit."""
    monkeypatch.setattr("jobs.limits.limiter._CACHE_SIZE", 2)
    async with limiter(store, settings, redis_url, requests_per_minute=3) as limited:
        passed = 0
        for turn in range(6):
            passed += await admitted(limited, 1)
            for n in range(3):
                other = ALICE.model_copy(update={"key_id": f"key_{turn}_{n}"})
                await limited.admit(other, "nano", tokens=lambda: 0)
    assert passed == 3


async def test_many_at_once(store, settings, redis_url):
    """Requests side by side are counted once each."""
    async with limiter(store, settings, redis_url, requests_per_minute=40) as limited:
        passed = await asyncio.gather(*(admitted(limited, 1) for _ in range(100)))
    assert sum(passed) in {40, 41}  # one more in a second and a half
