"""`python -m jobs.training`: one spec in on stdin, events out on stdout, logs on stderr.

The last event says how it ended. Exit status: 0 done, 1 failed, 75 asked to go.

With `--spare` it is told a base first (`WarmUp`), does what can be done without a job, and waits for one
(`HandOver`). Its one job is then trained as any other; without one it goes when stdin is closed.
"""

import logging
import sys
from typing import TYPE_CHECKING

from jobs.training.process import (
    PREEMPTED,
    Preempted,
    Preemption,
    claim_stdout,
    configure_libraries,
    die_with_parent,
    first_to_go,
    redirect_stderr,
)
from schemas.training import HandOver, TrainingEvent, TrainingSpec, WarmUp

if TYPE_CHECKING:
    from jobs.training.base import Base

logger = logging.getLogger(__name__)


def main() -> int:
    """Train in this process; return its exit status."""
    die_with_parent()
    preemption = Preemption()
    preemption.listen()
    events = claim_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    spec, base = _job_after_warm_up() if sys.argv[1:] == ["--spare"] else (_job(), None)

    # Only now: torch reads the environment when imported, and takes a second.
    from jobs.training.failures import describe  # noqa: PLC0415
    from jobs.training.loop import train  # noqa: PLC0415

    def emit(event: TrainingEvent) -> None:
        events.write(event.model_dump_json() + "\n")

    try:
        train(spec, emit=emit, preemption=preemption, base=base)
    except Preempted:
        return PREEMPTED
    except Exception as exc:
        logger.exception("training failed")
        emit(describe(exc))
        return 1
    return 0


def _job() -> TrainingSpec:
    spec = TrainingSpec.model_validate_json(sys.stdin.readline())
    configure_libraries(n_threads=spec.n_threads)
    return spec


def _job_after_warm_up() -> tuple[TrainingSpec, "Base"]:
    """Warm up, and wait for a job.

    Raises:
        SystemExit: There will be none.
    """
    with first_to_go():
        warm_up = WarmUp.model_validate_json(sys.stdin.readline())
        configure_libraries(n_threads=warm_up.n_threads)

        import jobs.training.loop  # noqa: F401, PLC0415 - all that training needs; and only now, as in `main`
        from jobs.training.base import Base  # noqa: PLC0415

        base = Base(warm_up.base_dir)
        base.warm_up()
        line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    hand_over = HandOver.model_validate_json(line)
    redirect_stderr(hand_over.log_path)
    return hand_over.spec, base


if __name__ == "__main__":
    sys.exit(main())
