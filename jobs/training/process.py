"""The trainer as a process: it dies with its worker, keeps stdout for events, goes when asked to.

Imports no torch: all of this happens before torch is there.
"""

import ctypes
import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final, TextIO

PREEMPTED: Final = 75
"""Exit status after SIGTERM: `EX_TEMPFAIL` of sysexits.h, try again later."""

LOST: Final = 69
"""Exit status where the others that train together are gone: `EX_UNAVAILABLE`. Theirs says why."""

_PR_SET_PDEATHSIG: Final = 1
_OOM_SCORE_MAX: Final = 1000
"""Of `oom_score_adj`, proc(5)."""


class Preempted(Exception):
    """The process was asked to go, and what had to be kept is on disk."""


class Spoiled(Preempted):
    """Nothing can be computed in this process any more; another one goes on from what is on disk."""


class Preemption:
    """Whether the process was asked to go, by SIGTERM.

    Until `defer` is called there is nothing to keep, and being asked ends the process at once.
    """

    def __init__(self) -> None:
        self.requested = False
        self._deferred = False

    def listen(self) -> None:
        """Hear SIGTERM from now on."""
        signal.signal(signal.SIGTERM, self._hear)

    def defer(self) -> None:
        """From now on only take note: whoever trains looks after each step."""
        self._deferred = True

    def check(self) -> None:
        """Raise where the process was asked to go.

        Raises:
            Preempted: It was.
        """
        if self.requested:
            raise Preempted

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        if not self._deferred:
            os._exit(PREEMPTED)
        self.requested = True


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent dies: no one else would stop it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def claim_stdout() -> TextIO:
    """Take standard output for events alone; whatever else prints goes to standard error.

    Raises:
        SystemExit: Nobody reads it any more: the parent died before `die_with_parent`.
    """
    events = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    watch = select.poll()
    watch.register(events, 0)  # an error is always reported, asked for or not
    if any(happened & select.POLLERR for _, happened in watch.poll(0)):
        raise SystemExit(PREEMPTED)
    return events


def redirect_stderr(path: Path) -> None:
    """Send standard error to the end of a file from now on, with what `claim_stdout` sends there."""
    with path.open("ab") as log:
        os.dup2(log.fileno(), 2)
        os.dup2(log.fileno(), 1)


@contextmanager
def first_to_go() -> Iterator[None]:
    """Let the kernel kill this process before any other, should memory run out within the block."""
    score = Path("/proc/self/oom_score_adj")
    if not score.exists():
        yield
        return
    usual = score.read_text(encoding="ascii")
    score.write_text(str(_OOM_SCORE_MAX), encoding="ascii")
    yield
    score.write_text(usual, encoding="ascii")


def configure_libraries(*, n_threads: int) -> None:
    """Set what torch and Hugging Face's libraries read from the environment when imported."""
    os.environ.update(
        OMP_NUM_THREADS=str(n_threads),
        MKL_NUM_THREADS=str(n_threads),
        # Threads that spin at barriers made training 8 times slower beside a busy process.
        OMP_WAIT_POLICY="passive",
        # oneDNN compiles a product for each new shape, and keeps a thousand of them, each of up to 1 MB.
        ONEDNN_PRIMITIVE_CACHE_CAPACITY="32",
        HF_HUB_OFFLINE="1",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
    )
