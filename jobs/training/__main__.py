"""`python -m jobs.training`: one spec in on stdin, events out on stdout, logs on stderr.

The last event says how it ended. Exit status: 0 done, 1 failed, 75 asked to go.
"""

import logging
import sys

from jobs.training.process import (
    PREEMPTED,
    Preempted,
    Preemption,
    claim_stdout,
    configure_libraries,
    die_with_parent,
)
from schemas.training import TrainingEvent, TrainingSpec

logger = logging.getLogger(__name__)


def main() -> int:
    """Train in this process; return its exit status."""
    die_with_parent()
    preemption = Preemption()
    preemption.listen()
    events = claim_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    spec = TrainingSpec.model_validate_json(sys.stdin.readline())
    configure_libraries(spec)

    # Only now: torch reads the environment when imported, and takes a second.
    from jobs.training.failures import describe  # noqa: PLC0415
    from jobs.training.loop import train  # noqa: PLC0415

    def emit(event: TrainingEvent) -> None:
        events.write(event.model_dump_json() + "\n")

    try:
        train(spec, emit=emit, preemption=preemption)
    except Preempted:
        return PREEMPTED
    except Exception as exc:
        logger.exception("training failed")
        emit(describe(exc))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
