"""Training as a child process: torch's memory, crashes and signals stay in it."""

import asyncio
import logging
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from jobs.memory_kills import MemoryKills
from jobs.spare_trainer import SpareTrainer
from jobs.trainer_process import launch, send_signal, trainer_environment
from schemas.training import (
    TrainingDone,
    TrainingEvent,
    TrainingFailed,
    TrainingSpec,
    training_event,
)

logger = logging.getLogger(__name__)

PREEMPTED: Final = 75
"""The exit status of a trainer that saved a resume point because it was asked to stop."""


class TrainerDied(Exception):
    """The trainer ended without saying how: killed, or out of the machine's memory."""


class TrainerOutOfMemory(TrainerDied):
    """The kernel ended the trainer, because there was no memory left."""


class TrainerNeedsLess(Exception):
    """The trainer was ended for memory, and the next attempt takes less of it; the message says how."""


class TrainerLeft(Exception):
    """The trainer saved a resume point and went, as it was asked to; nothing is wrong."""


class Trainer:
    """A running trainer."""

    def __init__(self, process: asyncio.subprocess.Process, *, memory_kills: MemoryKills) -> None:
        self._process = process
        self._is_asked = False
        self._memory_kills = memory_kills

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def events(self) -> AsyncIterator[TrainingEvent]:
        """Yield what the trainer reports; the last is done or failed.

        Raises:
            TrainerLeft: It went because it was asked to.
            TrainerOutOfMemory: The kernel ended it, for memory.
            TrainerDied: It ended without such a word.
        """
        assert self._process.stdout is not None
        is_over = False
        async for line in self._process.stdout:
            try:
                event = training_event.validate_json(line)
            except ValidationError as exc:
                raise TrainerDied(f"The trainer wrote what is no event: {line[:200]!r}") from exc
            is_over = isinstance(event, TrainingDone | TrainingFailed)
            self._memory_kills.look()
            yield event
        status = await self._process.wait()
        if is_over:
            return
        if status == PREEMPTED:
            raise TrainerLeft
        if status == -signal.SIGKILL and self._memory_kills.has_just_killed:
            raise TrainerOutOfMemory("The system ended the trainer, because memory ran out.")
        raise TrainerDied(_how_it_ended(status))

    def ask_to_go(self) -> None:
        """Let it save a resume point, in its own time, and go. Safe to repeat."""
        if self._process.returncode is None and not self._is_asked:
            send_signal(self._process, signal.SIGTERM)
        # Once: a Python that is about to end has no handler any more, and would die of a second.
        self._is_asked = True

    async def stop(self, *, grace: float) -> None:
        """Ask it to save and go; after `grace` seconds make it go."""
        if self._process.returncode is not None:
            return
        if grace > 0:
            send_signal(self._process, signal.SIGTERM)
            try:
                async with asyncio.timeout(grace):
                    await self._process.wait()
            except TimeoutError:
                logger.warning("trainer did not stop in time: pid=%s", self.pid)
        # Also where it went by itself: it may have children of its own.
        send_signal(self._process, signal.SIGKILL)
        await self._process.wait()


@asynccontextmanager
async def start_trainer(
    spec: TrainingSpec,
    *,
    log_path: Path,
    module: str = "jobs.training",
    spare: SpareTrainer | None = None,
    memory_kills: MemoryKills | None = None,
) -> AsyncGenerator[Trainer]:
    """Start a trainer, warm where one waits; at the end it is gone, whatever happened.

    Args:
        spec: Handed over on standard input: an argument list is seen by every user of the machine.
        log_path: Takes its standard error.
        module: What to run; tests pass a stand-in.
        spare: May have one that has warmed up.
        memory_kills: Tells whether the kernel ends processes for memory; None: this kernel's counters.
    """
    process = await spare.take(spec, log_path=log_path, module=module) if spare else None
    is_warm = process is not None
    if process is None:
        process = await launch(module, log_path=log_path, environment=trainer_environment())
    trainer = Trainer(process, memory_kills=memory_kills or MemoryKills())
    logger.info("trainer started: pid=%s warm=%s", trainer.pid, is_warm)
    try:
        if not is_warm:
            assert process.stdin is not None
            process.stdin.write(spec.model_dump_json().encode() + b"\n")
        yield trainer
    finally:
        await trainer.stop(grace=0)


def _how_it_ended(status: int) -> str:
    if status < 0:
        return f"The training process was ended by signal {-status} ({signal.strsignal(-status)})."
    return f"The training process ended with status {status} without a result."
