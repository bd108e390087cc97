"""The way from the API to a worker: a message that says "look at this job". Never the only place that knows.

Redis may be down, flushed or full; then the worker's sweep finds the job in SQL a little later.
Only this module and `jobs.worker` know arq.
"""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from arq.connections import ArqRedis, RedisSettings, create_pool
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KICK: Final = "kick"
"""The arq name of the function that looks at a job."""
_PATIENCE: Final = 2.0
"""Seconds. arq sets no socket timeout: a stopped Redis would hold a request for ever."""


def redis_settings(url: str) -> RedisSettings:
    """Return arq's settings for a `redis://`, `rediss://` or `unix://` URL, without its own retries."""
    settings = RedisSettings.from_dsn(url)
    settings.conn_retries = 0
    settings.conn_timeout = 2
    return settings


def to_bytes(job: dict[str, Any]) -> bytes:
    """Serialise an arq job as JSON: its default is pickle, so that Redis could run code in a worker."""
    return json.dumps(job, default=str).encode()


def from_bytes(job: bytes) -> dict[str, Any]:
    """Read what `to_bytes` wrote."""
    loaded: dict[str, Any] = json.loads(job)
    return loaded


class Queue:
    """Wakes workers, as well as Redis can."""

    def __init__(self, url: str) -> None:
        self._settings = redis_settings(url)
        self._pool: ArqRedis | None = None

    async def kick(self, job_id: str) -> bool:
        """Ask a worker to look at a job; False where Redis could not be told."""
        try:
            async with asyncio.timeout(_PATIENCE):
                pool = await self._connected()
                await pool.enqueue_job(KICK, job_id)
        except (RedisError, OSError, TimeoutError) as exc:
            logger.warning("queue unreachable, the sweep will find it: job_id=%s %r", job_id, exc)
            return False
        return True

    async def ping(self) -> None:
        """Raise whatever keeps Redis from answering."""
        async with asyncio.timeout(_PATIENCE):
            pool = await self._connected()
            await pool.ping()

    async def aclose(self) -> None:
        """Let go of Redis."""
        if self._pool is not None:
            await self._pool.aclose(close_connection_pool=True)

    async def _connected(self) -> ArqRedis:
        if self._pool is None:
            self._pool = await create_pool(
                self._settings, job_serializer=to_bytes, job_deserializer=from_bytes
            )
        return self._pool


@asynccontextmanager
async def open_pool(url: str) -> AsyncGenerator[ArqRedis]:
    """Connect to Redis as arq does, and let go of it at the end, which arq itself does not.

    Raises:
        RedisError: It does not answer.
    """
    pool = await create_pool(
        redis_settings(url), job_serializer=to_bytes, job_deserializer=from_bytes
    )
    try:
        yield pool
    finally:
        await pool.aclose(close_connection_pool=True)


@asynccontextmanager
async def open_queue(url: str) -> AsyncGenerator[Queue]:
    """Open the queue; Redis need not be there yet."""
    queue = Queue(url)
    try:
        yield queue
    finally:
        await queue.aclose()
