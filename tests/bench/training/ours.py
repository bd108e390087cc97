"""Our side of `make bench-training`: the product's own training run, timed by the events that it tells."""

import dataclasses
import math
import sys
from importlib.metadata import version
from pathlib import Path

from jobs.training.loop import train
from jobs.training.process import Preemption
from schemas.training import CheckpointSaved, StepDone, TrainingEvent, TrainingSpec
from tests.bench.training.runs import Asked, Meter, count_embedded_tokens, print_result, rates


def spec_of(asked: Asked) -> TrainingSpec:
    """Return what the worker would hand to the trainer."""
    return TrainingSpec(
        base_dir=Path(asked.base_dir),
        training_path=Path(asked.training_path),
        init_adapter_dir=Path(asked.initial_adapter_dir),
        work_dir=Path(asked.work_dir),
        n_epochs=1,
        batch_size=asked.batch_size,
        learning_rate=asked.learning_rate,
        seed=asked.seed,
        context_length=asked.context_length,
        n_threads=1,
        resume_every_seconds=1e9,
    )


def main() -> None:
    """Train what standard input asks for."""
    asked = Asked.from_json(sys.stdin.read())
    meter = Meter()
    count_embedded_tokens(meter)
    adapter_dir = Path()

    def emit(event: TrainingEvent) -> None:
        nonlocal adapter_dir
        if isinstance(event, StepDone):
            meter.tick(event.tokens)
            planned = rates(asked.learning_rate, event.total_steps)[event.step - 1]
            assert math.isclose(event.learning_rate, planned), "the peer learns at another rate"
            if event.step == asked.warm_up_steps:
                meter.start()
        elif isinstance(event, CheckpointSaved):
            adapter_dir = event.adapter_dir

    train(spec_of(asked), emit=emit, preemption=Preemption())
    libraries = ("torch", "transformers", "peft")
    measured = meter.result(
        adapter_dir=adapter_dir, versions={name: version(name) for name in libraries}
    )
    print_result(dataclasses.asdict(measured))


if __name__ == "__main__":
    main()
