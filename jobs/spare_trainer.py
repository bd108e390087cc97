"""The trainer that waits for its job with everything loaded, so that the job starts at once.

A process of its own (`docs/decisions/0009-a-spare-trainer.md`): it trains one job, or goes unused.
"""

import asyncio
import logging
from asyncio.subprocess import Process
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Self

from jobs.memory_left import memory_left
from jobs.trainer_process import end, launch, trainer_environment
from schemas.training import HandOver, TrainingSpec, WarmUp

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 5.0
_LIBRARIES_BYTES: Final = 500_000_000
"""Torch, transformers and PEFT, imported: resident, measured."""
_LEFT_FOR_OTHERS: Final = 1_000_000_000
"""Bytes that must be free beside a spare where it is started; with half of that left it goes."""


class _File(NamedTuple):
    """By which a file is known again."""

    name: str
    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class _Waiting:
    """A process that waits, and what it was made from."""

    process: Process
    warm_up: WarmUp
    module: str
    environment: dict[str, str]
    files: list[_File]

    @classmethod
    async def start(cls, warm_up: WarmUp, *, module: str, log_path: Path) -> Self:
        # Before it reads them: what changes from now on makes a difference.
        files = await asyncio.to_thread(_files, warm_up.base_dir)
        environment = trainer_environment()
        process = await launch(module, "--spare", log_path=log_path, environment=environment)
        _say(process, warm_up.model_dump_json())
        return cls(process, warm_up, module, environment, files)

    @property
    def is_alive(self) -> bool:
        return self.process.returncode is None

    async def is_as_if_new(self) -> bool:
        """Whether one that was started now would be the same."""
        if not self.is_alive or self.environment != trainer_environment():
            return False
        return self.files == await asyncio.to_thread(_files, self.warm_up.base_dir)


class SpareTrainer:
    """At most one process that waits.

    Args:
        log_path: Takes what it says while it has no job; begun anew with each.
        is_wanted: Whether there shall ever be one.
        module: What to run; tests pass a stand-in.
    """

    def __init__(
        self, log_path: Path, *, is_wanted: bool = True, module: str = "jobs.training"
    ) -> None:
        self._log_path = log_path
        self._is_wanted = is_wanted
        self._module = module
        self._waiting: _Waiting | None = None
        self._lock = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Of the process that waits."""
        waiting = self._waiting
        return waiting.process.pid if waiting is not None and waiting.is_alive else None

    async def prepare(self, warm_up: WarmUp) -> None:
        """Let a trainer warm up, unless one already has, memory is short, or none is wanted."""
        async with self._lock:
            waiting = self._waiting
            if not (waiting and waiting.warm_up == warm_up and await waiting.is_as_if_new()):
                await self._replace(warm_up)

    async def prepare_if_none_waits(self, warm_up: WarmUp) -> None:
        """Let a trainer warm up for a job that may never train: it takes no other base's place."""
        async with self._lock:
            if self._waiting is None or not await self._waiting.is_as_if_new():
                await self._replace(warm_up)

    async def take(self, spec: TrainingSpec, *, log_path: Path, module: str) -> Process | None:
        """Give the waiting process its job; None where there is none that fits: one that does not is gone."""
        async with self._lock:
            waiting = self._waiting
            if waiting is None:
                return None
            fits = waiting.module == module and waiting.warm_up.fits(spec)
            if not (fits and await waiting.is_as_if_new()):
                await self._let_go()  # its memory is needed
                return None
            self._waiting = None
        _say(waiting.process, HandOver(spec=spec, log_path=log_path).model_dump_json())
        return waiting.process

    async def watch(self) -> None:
        """Let the spare go when memory is short or its base has changed, until cancelled; then it goes."""
        try:
            while True:
                await asyncio.sleep(_LOOK_EVERY)
                await self.look_after()
        finally:
            await self.close()

    async def look_after(self) -> None:
        """Let the spare go if it is of no use, or its memory of more use to others."""
        async with self._lock:
            if self._waiting is None:
                return
            left = await asyncio.to_thread(memory_left)
            is_short = left is not None and left < _LEFT_FOR_OTHERS // 2
            if is_short or not await self._waiting.is_as_if_new():
                await self._let_go()

    async def close(self) -> None:
        """Let the spare go; there will be no other."""
        self._is_wanted = False
        async with self._lock:
            await self._let_go()

    async def _replace(self, warm_up: WarmUp) -> None:
        await self._let_go()
        try:
            if self._is_wanted and await asyncio.to_thread(_has_room, warm_up.base_dir):
                self._log_path.parent.mkdir(parents=True, exist_ok=True)
                self._log_path.unlink(missing_ok=True)
                self._waiting = await _Waiting.start(
                    warm_up, module=self._module, log_path=self._log_path
                )
        except OSError as exc:
            logger.warning("no trainer is kept warm: %r", exc)

    async def _let_go(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is None:
            return
        if not waiting.is_alive:
            logger.warning("the spare trainer died: status=%s", waiting.process.returncode)
        await end(waiting.process)


def _say(process: Process, line: str) -> None:
    assert process.stdin is not None
    process.stdin.write(line.encode() + b"\n")


def _files(directory: Path) -> list[_File]:
    """Return what is known of a base's files; nothing of a base that is not there."""
    try:
        found = [(path.name, path.stat()) for path in directory.iterdir()]
    except OSError:
        return []
    return sorted(_File(name, s.st_ino, s.st_size, s.st_mtime_ns) for name, s in found)


def _has_room(base_dir: Path) -> bool:
    """Whether memory holds libraries and base, and leaves something for others."""
    left = memory_left()
    weights = sum(path.stat().st_size for path in base_dir.glob("*.safetensors"))
    # Twice: weights of 16 bits become 32 where the processor has no other.
    return left is None or left > _LIBRARIES_BYTES + 2 * weights + _LEFT_FOR_OTHERS
