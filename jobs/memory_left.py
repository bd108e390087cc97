"""How much memory this machine, or the container that we are in, still has to give."""

from pathlib import Path

from jobs.control_group import own_group


def memory_left(root: Path = Path("/")) -> int | None:
    """Return bytes; None where the system does not tell (elsewhere than on Linux).

    Args:
        root: Below which `proc` and `sys` are mounted.
    """
    known = [left for left in (_of_machine(root), _of_container(root)) if left is not None]
    return min(known, default=None)


def memory_total(root: Path = Path("/")) -> int | None:
    """Return the bytes that there would be to give if nothing else ran; None where the system does not tell."""
    kibibytes = _field(root / "proc/meminfo", "MemTotal:")
    known = [_limit(root), None if kibibytes is None else kibibytes * 1024]
    return min((total for total in known if total is not None), default=None)


def _limit(root: Path) -> int | None:
    try:
        limit = (own_group(root) / "memory.max").read_text(encoding="ascii").strip()
    except OSError:
        return None
    return int(limit) if limit.isdigit() else None


def _of_machine(root: Path) -> int | None:
    # "An estimate of how much memory is available for starting new applications" (proc(5)).
    kibibytes = _field(root / "proc/meminfo", "MemAvailable:")
    return None if kibibytes is None else kibibytes * 1024


def _of_container(root: Path) -> int | None:
    """Return what control group v2 leaves us, where it sets a limit."""
    group = own_group(root)
    try:
        limit = (group / "memory.max").read_text(encoding="ascii").strip()
        used = int((group / "memory.current").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    if limit == "max":
        return None
    # Files read and not in use are given up when memory is asked for.
    cached = _field(group / "memory.stat", "inactive_file") or 0
    return int(limit) - used + cached


def _field(path: Path, name: str) -> int | None:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    words = (line.split() for line in lines)
    return next((int(line[1]) for line in words if line and line[0] == name), None)
