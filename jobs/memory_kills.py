"""Whether the kernel ends processes here because memory ran out: it tells nobody but its counters."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jobs.control_group import own_group

_JUST_NOW: Final = 10.0
"""Seconds between the kernel's decision and our hearing that the process is gone, at most."""


def count_memory_kills(root: Path = Path("/")) -> int:
    """Return a number that is greater after each such end, of any process that we share memory with.

    Of our own control group, where there is one that counts; else of the whole machine.

    Args:
        root: Below which `proc` and `sys` are mounted. Where nothing is told, the number stays 0.
    """
    counters = (
        own_group(root) / "memory.events",  # version 2: whoever decided on the kill
        own_group(root, controller="memory") / "memory.oom_control",  # version 1
        root / "proc/vmstat",
    )
    counted = (_kills(path) for path in counters)
    return next((kills for kills in counted if kills is not None), 0)


class MemoryKills:
    """Tells a kill of a moment ago from one that was longer ago, and therefore another process's.

    Args:
        count: Grows with each kill.
        clock: Seconds.
    """

    def __init__(
        self,
        count: Callable[[], int] = count_memory_kills,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._count = count
        self._clock = clock
        self._looked_at = clock()
        self._before = self._latest = count()

    def look(self) -> None:
        """Take note of the counter; to be called while the process that matters is seen to be alive."""
        if self._clock() - self._looked_at >= _JUST_NOW:
            # Not the number of now: what is read of the process may be older than its end.
            self._before, self._latest = self._latest, self._count()
            self._looked_at = self._clock()

    @property
    def has_just_killed(self) -> bool:
        """Whether there was one since the look before the last."""
        return self._count() > self._before


def _kills(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    words = (line.split() for line in lines)
    return next((int(line[1]) for line in words if line[:1] == ["oom_kill"]), None)
