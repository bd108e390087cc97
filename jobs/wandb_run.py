"""`python -m jobs.wandb_run`: mirrors one job to Weights & Biases. The only module that knows wandb.

Standard input and output: `schemas.mirror`. Key, server and mode are the operator's, in wandb's own
environment variables. A process of its own, because wandb starts threads and a service, and waits for the
network whenever it likes: neither the API nor a worker may.
"""

import os
import sys
from typing import Final

import wandb

from schemas.mirror import MirrorAnswer, MirrorEnd, MirrorStart, MirrorStep, mirror_line

_INIT_PATIENCE: Final = 30.0
"""Seconds until a server that does not answer is a problem."""
_EXIT_STATUS: Final = {"succeeded": 0, "failed": 1, "interrupted": 1}


def main() -> int:
    """Mirror a job until it ends or standard input does; return the exit status."""
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)  # whatever wandb prints is a log
    start = MirrorStart.model_validate_json(sys.stdin.readline())
    try:
        run = _open_run(start)
    except (wandb.Error, OSError) as exc:
        answers.write(MirrorAnswer(problem=str(exc)).model_dump_json() + "\n")
        return 1
    answers.write(MirrorAnswer(url=run.url).model_dump_json() + "\n")
    end = _follow(run)
    run.summary.update(end.summary)
    if end.outcome == "interrupted":
        run.mark_preempting()
    run.finish(exit_code=_EXIT_STATUS[end.outcome])
    return 0


def _open_run(start: MirrorStart) -> wandb.Run:
    start.directory.mkdir(parents=True, exist_ok=True)
    return wandb.init(
        id=start.run_id,
        resume="allow",
        project=start.project,
        entity=start.entity,
        name=start.name,
        tags=start.tags,
        config=start.config,
        dir=start.directory,
        # Metrics, and nothing of this machine: no code, no packages, no hardware, no console.
        settings=wandb.Settings(
            console="off",
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            init_timeout=_INIT_PATIENCE,
            silent=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_save_requirements=False,
        ),
    )


def _follow(run: wandb.Run) -> MirrorEnd:
    """Log each step; return how the job ended, `interrupted` where the worker is gone."""
    logged = run.step  # of a run that goes on: wandb drops what is not beyond it
    for line in sys.stdin:
        match mirror_line.validate_json(line):
            case MirrorStep(step=step, metrics=metrics) if step >= logged:
                run.log(metrics, step=step)
            case MirrorEnd() as end:
                return end
            case _:
                continue
    return MirrorEnd(outcome="interrupted")


if __name__ == "__main__":
    sys.exit(main())
