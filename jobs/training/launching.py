"""`python -m jobs.training.launching`: one trainer as several processes on this machine, under torchrun's agent.

To its worker it is a trainer like any other: a spec in on stdin, events out on stdout, the same exit status. Its
members inherit standard output for their events, and die with it.
"""

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from jobs.training.member import SPEC
from jobs.training.process import LOST, PREEMPTED, Preemption, claim_stdout, die_with_parent
from schemas.training import TrainingSpec

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

logger = logging.getLogger(__name__)

_GRACE: Final = 18
"""Seconds that members have for a resume point; less than the worker's patience with this process."""
_LOOPBACK: Final = "127.0.0.1"


def main(member: str = "jobs.training.member") -> int:
    """Start the members and wait for them; return the exit status that speaks for all.

    Args:
        member: The module that each of them runs.
    """
    die_with_parent()
    Preemption().listen()  # until the agent listens itself
    events = claim_stdout()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    spec = TrainingSpec.model_validate_json(sys.stdin.readline())
    os.environ[SPEC] = spec.model_dump_json()
    # Nothing of this leaves the machine.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    os.dup2(events.fileno(), 1)  # for the members
    return _run(member, spec.n_processes)


def _run(member: str, n_processes: int) -> int:
    # Only now: they import torch, which takes a second in which a signal is to be heard.
    from torch.distributed.elastic.multiprocessing import SignalException  # noqa: PLC0415
    from torch.distributed.elastic.multiprocessing.errors import (  # noqa: PLC0415
        ChildFailedError,
    )
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch  # noqa: PLC0415

    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n_processes,
        run_id="retune",
        rdzv_backend="c10d",
        rdzv_endpoint=f"{_LOOPBACK}:0",
        local_addr=_LOOPBACK,
        max_restarts=0,  # the worker decides on that, from a resume point
        shutdown_timeout=_GRACE,
    )
    try:
        elastic_launch(config, sys.executable)("-m", member)
    except SignalException:
        return PREEMPTED  # the agent has passed the signal on, and waited
    except ChildFailedError as exc:
        rank, first = _first_of_itself(exc.failures)
        logger.info("a member ended first: rank=%d status=%d", rank, first.exitcode)
        if first.exitcode < 0:
            # Killed: the worker is to see the signal, as it would of a single trainer.
            os.kill(os.getpid(), -first.exitcode)
        return int(first.exitcode)
    return 0


def _first_of_itself(failures: "dict[int, ProcessFailure]") -> "tuple[int, ProcessFailure]":
    """Return the member that ended first, but for those that ended because another one had."""
    of_themselves = {rank: each for rank, each in failures.items() if each.exitcode != LOST}
    return min((of_themselves or failures).items(), key=lambda each: each[1].timestamp)


if __name__ == "__main__":
    sys.exit(main())
