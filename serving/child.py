"""Child processes that do not outlive us, however we end."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
"""From `linux/prctl.h`."""


def die_with_us(number: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """Return a `preexec_fn`: the kernel sends `number` to the child when the thread that starts it ends.

    So start children in the main thread. Elsewhere than on Linux the child is left to itself.
    """
    # Looked up here: between fork and exec nothing may take a lock.
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None
    us = os.getpid()

    def ask_the_kernel() -> None:
        if prctl is None:
            return
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != us:  # we ended before the child could ask
            os._exit(1)

    return ask_the_kernel
