"""`python -m tests.training.limited MEGABYTES`: a trainer whose memory ends so far above its loaded base.

Reads a spec, as the trainer does, and writes its events. `RLIMIT_DATA` counts what a process asks for, so
that an allocation fails as it does where nothing is left; 0: without a limit.
"""

import resource
import sys
from pathlib import Path

from jobs.training.process import (
    PREEMPTED,
    Preempted,
    Preemption,
    claim_stdout,
    configure_libraries,
)
from schemas.training import TrainingSpec


def data_bytes() -> int:
    """What counts against the limit: `VmData`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


def main() -> int:
    events = claim_stdout()
    spec = TrainingSpec.model_validate_json(sys.stdin.readline())
    configure_libraries(n_threads=1)

    from jobs.training.base import Base  # noqa: PLC0415 - after the libraries are configured
    from jobs.training.failures import describe  # noqa: PLC0415
    from jobs.training.loop import train  # noqa: PLC0415

    def emit(event) -> None:
        events.write(event.model_dump_json() + "\n")

    base = Base(spec.base_dir)
    base.warm_up()
    if megabytes := int(sys.argv[1]):
        limit = data_bytes() + megabytes * 1_000_000
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        train(spec, emit=emit, preemption=Preemption(), base=base)
    except Preempted:
        return PREEMPTED
    except Exception as exc:  # noqa: BLE001 - as the trainer's own edge
        print(repr(exc)[:500], file=sys.stderr)
        emit(describe(exc))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
