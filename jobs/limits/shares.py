"""Buckets that every API process draws from, in Redis; where Redis is away, each process has its own.

A process takes a share at a time, so that most requests ask nobody. Without Redis every process counts by
itself: limits are then looser by the number of processes, and nothing is refused because Redis is down.
"""

import asyncio
import logging
import time
from typing import Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.limits.bucket import Bucket

logger = logging.getLogger(__name__)

_PATIENCE: Final = 0.25
"""Seconds a request waits for Redis."""
_AWAY_FOR: Final = 5.0
"""Seconds that Redis is not asked again after it did not answer."""
_TAKE: Final = """
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local capacity, seconds, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local found = redis.call('HMGET', KEYS[1], 'level', 'at', 'capacity')
local level = capacity
if found[1] and tonumber(found[3]) == capacity then
  level = math.min(capacity, tonumber(found[1]) + (now - tonumber(found[2])) * capacity / seconds)
end
local taken = math.min(wanted, level)
level = level - taken
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', tostring(now), 'capacity', tostring(capacity))
redis.call('EXPIRE', KEYS[1], math.ceil(seconds))
return {tostring(taken), tostring(level)}
"""
"""`Bucket.take`, by Redis's clock. A bucket left alone until it is full again is forgotten."""


class Share(NamedTuple):
    """What a process may use from now on."""

    taken: float
    left: float
    """For all others, at that moment."""


class Shares:
    """The way to the shared buckets."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._script = redis.register_script(_TAKE)
        self._own: dict[str, Bucket] = {}
        self._away_until = 0.0

    async def take(self, name: str, *, capacity: float, seconds: float, wanted: float) -> Share:
        """Take up to `wanted` of a bucket, Redis's or, while that is away, our own.

        Args:
            name: The bucket's.
            capacity: Of the bucket; another than before makes it anew, full.
            seconds: In which it fills.
            wanted: How much.
        """
        if time.monotonic() >= self._away_until:
            try:
                async with asyncio.timeout(_PATIENCE):
                    arguments = (capacity, seconds, wanted)
                    taken, left = await self._script([f"retune:limit:{name}"], arguments)
                self._own.pop(name, None)
                return Share(float(taken), float(left))
            except (RedisError, OSError, TimeoutError) as exc:
                logger.warning("rate limits are counted by this process alone: %r", exc)
                self._away_until = time.monotonic() + _AWAY_FOR
        return self._take_own(name, capacity, seconds, wanted)

    def _take_own(self, name: str, capacity: float, seconds: float, wanted: float) -> Share:
        now = time.monotonic()
        bucket = self._own.get(name)
        if bucket is None or bucket.capacity != capacity:
            bucket = self._own[name] = Bucket.full(capacity, seconds, now=now)
        return Share(bucket.take(wanted, now=now), bucket.level)
