"""A worker's hold on one batch: renewed while it works, and how it hears that it should stop."""

import asyncio
import time
from functools import partial
from typing import Final

from jobs.batch_endpoints import ENDPOINTS
from jobs.batch_journal import Tally
from jobs.claims import LEASE
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.batches import BatchChange, BatchOutcome, BatchRecord
from jobs.store.records import Fenced
from schemas.batches import Batch
from schemas.errors import ApiError

_LOOK_EVERY: Final = 1.0
_RENEW_EVERY: Final = 10.0
_GIVE_UP_AFTER: Final = 20.0
"""Seconds without an answer of the database: before the lease ends."""


class BatchClaim:
    """One claim of one batch. Every write carries its fence."""

    def __init__(self, services: Services, record: BatchRecord) -> None:
        self.services = services
        self.record = record
        """As of the last look."""
        self.stopping = asyncio.Event()
        """Set once the batch is to be cancelled, or its time is over."""
        self.tally: Tally | None = None
        """What is counted while requests are asked; each look writes it down."""
        self._turn = asyncio.Lock()
        """A look must not overwrite what a change has just brought."""

    @property
    def batch(self) -> Batch:
        """As of the last look."""
        return self.record.batch

    async def caller(self) -> Caller:
        """Return whose rights the batch's requests have: its creator's, as they are now.

        Raises:
            Unauthorized: Its creator's key works no longer, or may not ask the endpoint any more.
        """
        caller = await self.services.keys.act_for(self.record.plan.key_id)
        caller.ensure_may(ENDPOINTS[self.batch.endpoint].scope)
        return caller

    async def change(self, change: BatchChange) -> BatchRecord:
        """Change the batch, if it is still ours.

        Raises:
            Fenced: It is not.
        """
        async with self._turn:
            self.record = await self.services.store.batches.change(
                self.batch.id, change, attempt=self.record.attempt
            )
        self.listen(now=time.time())
        return self.record

    def listen(self, *, now: float) -> None:
        """Set `stopping` where the last look gave reason to."""
        if self.batch.status == "cancelling" or now >= self.batch.expires_at:
            self.stopping.set()

    async def stops_within(self, seconds: float) -> bool:
        """Wait, and return early with True where the work is to stop."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return False
        return True

    async def watch(self) -> None:
        """Each second: tell how far the batch is, hold on to it, hear whether to stop.

        Raises:
            Fenced: It is ours no longer, or may not be: the database did not answer for too long.
        """
        renewed = answered = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            now = time.monotonic()
            try:
                if now - renewed > _RENEW_EVERY or self._has_news():
                    await self.change(partial(_renewed, tally=self.tally, now=time.time()))
                    renewed = now
                else:
                    await self._look()
                answered = now
            except ApiError:
                if now - answered > _GIVE_UP_AFTER:
                    raise Fenced(self.batch.id) from None

    async def _look(self) -> None:
        async with self._turn:
            found = await self.services.store.batches.get(self.batch.id)
            if found.attempt != self.record.attempt or found.owner is None:
                raise Fenced(self.batch.id)
            self.record = found
        self.listen(now=time.time())

    def _has_news(self) -> bool:
        return self.tally is not None and self.tally.counts != self.batch.request_counts


def _renewed(record: BatchRecord, *, tally: Tally | None, now: float) -> BatchOutcome:
    batch = record.batch if tally is None else tally.shown_by(record.batch)
    change = {"batch": batch, "lease_until": now + LEASE}
    return BatchOutcome(record=record.model_copy(update=change))
