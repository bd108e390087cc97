"""A worker's hold on one job: renewed while it works, gone when the job is cancelled or taken over."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Protocol

from jobs.services import Services
from jobs.store.jobs import NewEvent, Outcome
from jobs.store.records import Fenced, JobRecord
from schemas.bases import BaseModelInfo
from schemas.errors import ApiError, JobFailure

LEASE: Final = 30.0
"""Seconds after which a silent worker's job may be taken by another."""
_RENEW_EVERY: Final = 10.0
_LOOK_EVERY: Final = 1.0
_GIVE_UP_AFTER: Final = 20.0
"""Seconds without an answer of the database: before the lease ends, so that two never train one job."""


class Claim:
    """One claim of one job. Every write carries its fence."""

    def __init__(self, services: Services, record: JobRecord) -> None:
        self.services = services
        self.record = record
        """As of the last write of ours."""
        self.is_lost = False
        self._on_pause: Callable[[], None] = _nothing

    @property
    def job_id(self) -> str:
        """Whose claim it is."""
        return self.record.job.id

    def base(self) -> BaseModelInfo:
        """Return the base that the job tunes.

        Raises:
            JobFailure: It is offered no longer.
        """
        base = self.services.catalog.find(self.record.base)
        if base is None:
            raise JobFailure(
                f"The base model '{self.record.base}' is no longer offered by this server.",
                code="model_not_available",
                param="model",
            )
        return base

    async def change(self, change: Callable[[JobRecord], Outcome]) -> JobRecord:
        """Change the job, if it is still ours.

        Raises:
            Fenced: It is not.
        """
        self.record = await self.services.store.jobs.change(
            self.job_id, change, attempt=self.record.attempt
        )
        return self.record

    async def log(self, *events: NewEvent) -> None:
        """Add events to the job, if it is still ours.

        Raises:
            Fenced: It is not.
        """
        await self.change(lambda record: Outcome(record=record, events=events))

    @contextmanager
    def on_pause(self, act: Callable[[], None]) -> Generator[None]:
        """Call `act` each second in which the user wants the job to pause, while the body runs."""
        self._on_pause = act
        try:
            yield
        finally:
            self._on_pause = _nothing

    async def watch(self) -> None:
        """Renew the lease, hear of pauses, and raise Fenced as soon as the job is ours no longer."""
        jobs, attempt = self.services.store.jobs, self.record.attempt
        renewed = answered = time.monotonic()
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            now = time.monotonic()
            try:
                if now - renewed < _RENEW_EVERY:
                    hold = await jobs.hold(self.job_id, attempt=attempt)
                    held = hold != "lost"
                    if hold == "pausing":
                        self._on_pause()
                else:
                    until = time.time() + LEASE
                    held = await jobs.renew(self.job_id, attempt=attempt, lease_until=until)
                    renewed = now
                answered = now
            except ApiError:
                held = now - answered < _GIVE_UP_AFTER
            if not held:
                self.is_lost = True
                raise Fenced(self.job_id)


def _nothing() -> None:
    """Where nobody has anything to do for a pause, it waits until the work is done."""


class Watched(Protocol):
    """A claim, of a job or a batch."""

    async def watch(self) -> None:
        """Hold on to it, and raise Fenced as soon as it is ours no longer."""


@asynccontextmanager
async def held(claim: Watched) -> AsyncGenerator[None]:
    """Keep the claim while the body runs; the body is cancelled when the claim is lost.

    Raises:
        Fenced: The claim was lost.
    """
    try:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(claim.watch())
            yield
            watch.cancel()
    except BaseExceptionGroup as group_of_one:
        # The watch's Fenced, or what the body raised: one of them, never both.
        raise group_of_one.exceptions[0] from None
