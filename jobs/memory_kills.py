"""Whether the kernel ends processes here because memory ran out: it tells nobody but its counters."""

from pathlib import Path
from typing import Final

_COUNTERS: Final = (
    "sys/fs/cgroup/memory.events",  # of our control group, version 2
    "sys/fs/cgroup/memory/memory.oom_control",  # version 1
    "proc/vmstat",  # of the whole machine
)


def count_memory_kills(root: Path = Path("/")) -> int:
    """Return a number that is greater after each such end, of any process that we share memory with.

    Args:
        root: Below which `proc` and `sys` are mounted. Where nothing is told, the number stays 0.
    """
    return sum(_kills(root / name) for name in _COUNTERS)


def _kills(path: Path) -> int:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    words = (line.split() for line in lines)
    return next((int(line[1]) for line in words if line[:1] == ["oom_kill"]), 0)
