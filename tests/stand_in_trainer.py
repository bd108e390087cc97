"""A trainer that behaves as its spec's `base_name` says: what would otherwise need torch, in milliseconds.

`tests/training` shows that the real trainer speaks the same words.
"""

import os
import signal
import sys
import time
from pathlib import Path

from schemas.training import (
    CheckpointSaved,
    HandOver,
    StepDone,
    TrainingDone,
    TrainingFailed,
    TrainingSpec,
    TrainingStarted,
    WarmUp,
)

STEPS = 3


def say(event):
    print(event.model_dump_json(), flush=True)


def step(number):
    say(
        StepDone(
            step=number,
            total_steps=STEPS,
            train_loss=1 / number,
            train_mean_token_accuracy=0.5,
            learning_rate=0.1,
            grad_norm=1.0,
            tokens=10,
            seconds=0.01,
        )
    )


def the_job(line):
    return TrainingSpec.model_validate_json(line)


def the_spare_ones_job():
    WarmUp.model_validate_json(sys.stdin.readline())
    print("warmed up", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return HandOver.model_validate_json(line).spec


def main():
    spec = the_spare_ones_job() if sys.argv[1:] == ["--spare"] else the_job(sys.stdin.readline())
    say(
        TrainingStarted(
            total_steps=STEPS,
            resumed_at_step=0,
            n_examples=10,
            n_trainable_parameters=1,
            device="cpu",
        )
    )
    step(1)
    match spec.base_name:
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "garbled":
            print("this is no event", flush=True)
        case "silent":
            return
        case "failing":
            say(TrainingFailed(code="diverged", message="The loss is no number."))
            return
        case "endless":
            Path(spec.work_dir / "pid").write_text(str(os.getpid()))
            while True:
                time.sleep(1)
        case "saving":
            signal.signal(signal.SIGTERM, lambda *_: saved(spec))
            step(2)
            while True:
                time.sleep(1)
    step(2)
    step(3)
    say(CheckpointSaved(step=3, epoch=spec.n_epochs, adapter_dir=spec.work_dir / "adapter"))
    say(TrainingDone(trained_tokens=30, loss_tokens=10))


def saved(spec):
    Path(spec.work_dir / "saved").touch()
    os._exit(75)


if __name__ == "__main__":
    main()
