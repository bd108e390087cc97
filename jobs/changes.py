"""Whether what the pages of models and the system show has changed: cheap to ask, however many are open."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from jobs import engine_states
from jobs.keys import Caller
from jobs.services import WORKER_IS_ALIVE_FOR, Services, readiness

_ENGINES_EVERY: Final = 3.0
_SYSTEM_EVERY: Final = 2.0

Found = TypeVar("Found")


class Glance(Generic[Found]):
    """Looks at most every so often, whoever wants to know; those who come between get what was seen last.

    Args:
        look: What to look with. What it raises, whoever asked gets, and the next looks again.
        every: Seconds.
        clock: Monotonic.
    """

    def __init__(
        self,
        look: Callable[[], Awaitable[Found]],
        *,
        every: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look = look
        self._every = every
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._seen: tuple[float, Found] | None = None

    async def __call__(self) -> Found:
        """Return what is there, or was a moment ago."""
        async with self._one_at_a_time:
            if self._seen is None or self._clock() - self._seen[0] >= self._every:
                self._seen = (self._clock(), await self._look())
            return self._seen[1]


class Changes:
    """Tells states apart; what they are is for others to read.

    Args:
        services: Of this process.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engines = Glance(self._look_at_engines, every=_ENGINES_EVERY)
        self._system = Glance(self._look_at_system, every=_SYSTEM_EVERY)

    async def of_models(self, caller: Caller) -> str:
        """Return a token that changes with the caller's models, who may ask them, and the engines."""
        store, project_id = self._services.store, caller.project_id
        shared: dict[str, int] = {}
        if "api.fine_tuning.read" in caller.scopes:
            shared = await store.permissions.counts(owner=project_id)
        listed = await store.models.newest(project_id)
        return _token(listed, sorted(shared.items()), await self._engines())

    async def of_system(self) -> str:
        """Return a token that changes with readiness, engines, queue and workers; not with each beat of one."""
        return await self._system()

    async def _look_at_engines(self) -> list[tuple[object, ...]]:
        looks = await engine_states.look(self._services)
        return [
            (each.base, each.state, each.message, each.adapters and sorted(each.adapters))
            for each in looks.values()
        ]

    async def _look_at_system(self) -> str:
        store = self._services.store
        alive = await store.machines.workers(seen_after=time.time() - WORKER_IS_ALIVE_FOR)
        return _token(
            await readiness(self._services),
            await self._engines(),
            sorted((await store.jobs.unfinished()).items()),
            await store.batches.count_unfinished(),
            sorted((worker.id, repr(worker.trainer)) for worker in alive),
        )


def _token(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
