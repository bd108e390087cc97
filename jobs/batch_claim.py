"""A worker's hold on one batch: renewed while it works, and how it hears that it should stop."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

from jobs.batch_journal import Entry
from jobs.claims import LEASE
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.batches import BatchChange, BatchOutcome, BatchRecord
from jobs.store.records import Fenced
from schemas.batches import Batch, BatchUsage, RequestCounts
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
        self._counts = record.batch.request_counts
        self._usage = record.batch.usage
        self._turn = asyncio.Lock()
        """A look must not overwrite what a change has just brought."""

    @property
    def batch(self) -> Batch:
        """As of the last look."""
        return self.record.batch

    @property
    def caller(self) -> Caller:
        """Whose rights the batch's requests have: its creator's."""
        return Caller(
            project_id=self.record.project_id,
            organization_id=self.record.plan.organization_id,
            key_id=self.record.plan.key_id,
        )

    def begin_count(self) -> None:
        """Count from nothing: what earlier claims did is counted again from the journal."""
        self._counts = RequestCounts(total=self.batch.request_counts.total)
        self._usage = BatchUsage()

    def count(self, entry: Entry) -> None:
        """Count one outcome; the next look writes it down."""
        counts = self._counts
        more = (
            {"completed": counts.completed + 1}
            if entry.is_completed
            else {"failed": counts.failed + 1}
        )
        self._counts = counts.model_copy(update=more)
        self._usage += entry.usage

    def progress(self) -> dict[str, object]:
        """Return what was counted, as fields of the batch."""
        return {"request_counts": self._counts, "usage": self._usage}

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
                if now - renewed > _RENEW_EVERY or self._counts != self.batch.request_counts:
                    await self.change(self._renewed(time.time() + LEASE))
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

    def _renewed(self, lease_until: float) -> Callable[[BatchRecord], BatchOutcome]:
        progress = self.progress()

        def change(record: BatchRecord) -> BatchOutcome:
            batch = record.batch.model_copy(update=progress)
            return BatchOutcome(
                record=record.model_copy(update={"batch": batch, "lease_until": lease_until})
            )

        return change
