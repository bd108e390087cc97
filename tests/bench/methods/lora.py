"""A configuration with an adapter, trained by the product's own trainer."""

import dataclasses
import resource
import sys
import time
from pathlib import Path

from jobs.training.loop import train
from jobs.training.process import Preemption
from schemas.training import (
    CheckpointSaved,
    LoraSpec,
    StepDone,
    TrainingEvent,
    TrainingSpec,
    TrainingStarted,
)
from tests.bench.methods.results import Task, Trained
from tests.bench.training.runs import print_result


def spec_of(task: Task) -> TrainingSpec:
    """Return what the worker would hand to the trainer."""
    shape = task.configuration
    return TrainingSpec(
        base_dir=Path(task.base_dir),
        training_path=Path(task.training_path),
        work_dir=Path(task.work_dir),
        n_epochs=task.n_epochs,
        batch_size=task.batch_size,
        learning_rate=shape.learning_rate,
        seed=task.seed,
        context_length=1024,
        lora=LoraSpec(rank=shape.rank, alpha=2 * shape.rank, target_modules=shape.target_modules),
        n_threads=1,
        resume_every_seconds=1e9,
    )


class Watch:
    """Takes from the trainer's events what is measured."""

    def __init__(self) -> None:
        self.n_parameters = 0
        self.adapter_dir = Path()
        self.cpu_seconds = 0.0
        self.peak_bytes = 0
        self._began = 0.0

    def see(self, event: TrainingEvent) -> None:
        """Take note."""
        match event:
            case TrainingStarted():
                self.n_parameters = event.n_trainable_parameters
                self._began = time.process_time()
            case StepDone():
                self.cpu_seconds = time.process_time() - self._began
                self.peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            case CheckpointSaved():
                self.adapter_dir = event.adapter_dir
            case _:
                pass


def main() -> None:
    """Train what standard input asks for."""
    task = Task.from_json(sys.stdin.read())
    watch = Watch()
    train(spec_of(task), emit=watch.see, preemption=Preemption())
    trained = Trained(
        model_dir=str(watch.adapter_dir),
        trained_parameters=watch.n_parameters,
        saved_bytes=(watch.adapter_dir / "adapter_model.safetensors").stat().st_size,
        cpu_seconds=watch.cpu_seconds,
        peak_bytes=watch.peak_bytes,
    )
    print_result(dataclasses.asdict(trained))


if __name__ == "__main__":
    main()
