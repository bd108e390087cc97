"""How many requests of our own making an engine is asked at a time: fewer while clients wait for it themselves."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from jobs.services import Services
from schemas.bases import BaseModelInfo
from schemas.errors import ApiError

_LOOK_EVERY: Final = 1.0


class Turns:
    """Turns at one engine.

    Args:
        most: How many at a time, where nobody else asks.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._others = 0
        self._changed = asyncio.Condition()
        self.taken = 0

    @property
    def allowed(self) -> int:
        """How many may be taken now; one at least, or a busy engine would never finish a batch."""
        return max(1, self._most - self._others)

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None]:
        """Wait for a turn, and have it while the body runs."""
        async with self._changed:
            await self._changed.wait_for(lambda: self.taken < self.allowed)
            self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
            await self._tell()

    async def make_room(self, running: int) -> None:
        """Leave room for requests that are not ours.

        Args:
            running: What the engine works on or keeps waiting, ours among it.
        """
        self._others = max(0, running - self.taken)
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()


class Pace:
    """The turns at every engine that batches, or reports, ask.

    Args:
        services: Open.
        most: Requests at a time, where nobody else asks; None: as the settings say of batches.
    """

    def __init__(self, services: Services, *, most: int | None = None) -> None:
        self._services = services
        self._most = services.settings.batch_concurrency if most is None else most
        self._turns: dict[str, Turns] = {}

    def at(self, base: str) -> Turns:
        """Return the turns at the engine of a base."""
        return self._turns.setdefault(base, Turns(self._most))

    async def look(self, base: BaseModelInfo) -> Turns:
        """Return the turns at an engine, after a look at what else it does."""
        turns = self.at(base.name)
        try:
            running = await self._services.engines.count_running(base)
        except ApiError:
            running = 0  # it does not tell, or is not there
        await turns.make_room(running)
        return turns

    async def keep(self) -> None:
        """Look each second what else the engines do, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            for name, turns in list(self._turns.items()):  # somebody may ask other bases meanwhile
                base = self._services.catalog.find(name)
                if base is not None and turns.taken:
                    await self.look(base)
