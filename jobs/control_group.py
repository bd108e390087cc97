"""Where the kernel keeps what it knows of the control group that this process is in."""

from pathlib import Path
from typing import Final

_MOUNTED: Final = "sys/fs/cgroup"


def own_group(root: Path = Path("/"), *, controller: str = "") -> Path:
    """Return its directory; in a container, mostly that of all that it runs.

    Args:
        root: Below which `proc` and `sys` are mounted.
        controller: Of version 1, such as `memory`; none: the group of version 2.
    """
    mounted = root / _MOUNTED / controller
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="ascii").splitlines()
    except OSError:
        return mounted
    # "0::/system.slice/retune.service", or "4:memory:/docker/…" (cgroups(7)).
    fields = (line.split(":", 2) for line in lines)
    path = next((path for _, names, path in fields if controller in names.split(",")), "/")
    group = mounted / path.removeprefix("/")
    # A container sees its own group where it is mounted, and not by the name that it has outside.
    return group if ".." not in path and group.is_dir() else mounted
