"""Waiting for what another thread or process will do."""

import time
from collections.abc import Callable


def eventually(claim: Callable[[], object], *, seconds: float = 30) -> None:
    """Return once `claim` holds; fail where it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < deadline, f"still not so after {seconds} s"
        time.sleep(0.005)
