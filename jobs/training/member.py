"""`python -m jobs.training.member`: one of the processes that train together, started by `jobs.training.launching`.

The first of them reports; each may say why it failed, and that its memory ran out.
"""

import logging
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Final

from jobs.training.process import (
    LOST,
    PREEMPTED,
    Preempted,
    Preemption,
    claim_stdout,
    configure_libraries,
    die_with_parent,
)
from schemas.training import Noted, TrainingEvent, TrainingSpec

logger = logging.getLogger(__name__)

SPEC: Final = "RETUNE_TRAINING_SPEC"
"""Environment variable: standard input has one reader, and there are several members."""


def main() -> int:
    """Train with the others; return this process's exit status, as `jobs.training` has it."""
    die_with_parent()
    preemption = Preemption()
    preemption.listen()
    events = claim_stdout()
    rank = os.environ["RANK"]
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s %(levelname)s [{rank}] %(name)s %(message)s"
    )
    spec = TrainingSpec.model_validate_json(os.environ[SPEC])
    configure_libraries(n_threads=spec.n_threads)

    # Only now: torch reads the environment when imported.
    from jobs.training.failures import describe, is_lost_group  # noqa: PLC0415
    from jobs.training.group import Group  # noqa: PLC0415
    from jobs.training.loop import train  # noqa: PLC0415

    def emit(event: TrainingEvent) -> None:
        # One write, so that the lines of several members do not mix.
        os.write(events.fileno(), event.model_dump_json().encode() + b"\n")

    try:
        group = Group.join(is_sharded=spec.is_sharded)
        report = emit if group.is_first else partial(_only_of_memory, emit)
        train(spec, emit=report, preemption=preemption, group=group)
        group.leave()
    except Preempted:
        return PREEMPTED
    except Exception as exc:
        if is_lost_group(exc):
            logger.warning("the others are gone: %s", exc)
            return LOST
        logger.exception("training failed")
        emit(describe(exc))
        return 1
    return 0


def _only_of_memory(emit: Callable[[TrainingEvent], None], event: TrainingEvent) -> None:
    """Tell what the first member cannot know: that this one's memory ran out."""
    if isinstance(event, Noted) and event.key.startswith("memory-"):
        emit(event)


if __name__ == "__main__":
    sys.exit(main())
