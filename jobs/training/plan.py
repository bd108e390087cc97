"""Which examples each step takes, and how fast it learns: numbers only, nothing to remember.

All of it follows from the seed and the step, so that a resumed run needs no replay.
"""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

from schemas.training import OptimizerSpec, TrainingSpec

_MEASUREMENTS: Final = 4
"""Of a run: few and long epochs would else show too late which model is the best."""
_MEASUREMENTS_TO_STOP: Final = 10
"""With early stopping, which is to save steps."""
_STEPS_BETWEEN: Final = 20
_TRAINED_FOR_MEASURED: Final = 2
"""Examples trained on for each that is measured between the ends of epochs. Without a backward pass
an example costs a third: measuring then takes at most a sixth of what training takes."""


@dataclass(frozen=True)
class Plan:
    """The steps of a run. An example, which may have several rows, is the unit of a batch."""

    n_examples: int
    batch_size: int
    n_epochs: int
    seed: int
    peak_learning_rate: float
    optimizer: OptimizerSpec
    """How the rate rises and falls."""
    measurements_an_epoch: int = 1
    """How often the whole validation file is measured, evenly spaced; the last time at the end."""

    @classmethod
    def of(cls, spec: TrainingSpec, *, n_examples: int, n_validation: int = 0) -> Self:
        """Return the plan that a spec asks for.

        Args:
            spec: Its numbers.
            n_examples: That are trained on.
            n_validation: That are measured on; 0: nothing is.
        """
        return cls(
            n_examples=n_examples,
            batch_size=spec.batch_size,
            n_epochs=spec.n_epochs,
            seed=spec.seed,
            peak_learning_rate=spec.learning_rate,
            optimizer=spec.optimizer,
            measurements_an_epoch=_measurements_an_epoch(spec, n_examples, n_validation),
        )

    @property
    def steps_per_epoch(self) -> int:
        """The last step of an epoch may be smaller."""
        return math.ceil(self.n_examples / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Of all epochs."""
        return self.steps_per_epoch * self.n_epochs

    def batches(self, *, after: int) -> Iterator[tuple[int, list[int]]]:
        """Yield each step beyond `after`, from 1, with the places of its examples."""
        for epoch in range(after // self.steps_per_epoch, self.n_epochs):
            order = self._order(epoch)
            for batch in range(self.steps_per_epoch):
                step = epoch * self.steps_per_epoch + batch + 1
                if step > after:
                    first = batch * self.batch_size
                    yield step, order[first : first + self.batch_size]

    def epoch_ending_at(self, step: int) -> int | None:
        """Return the epoch, from 1, whose last step this is; None in the midst of one."""
        epoch, rest = divmod(step, self.steps_per_epoch)
        return epoch if epoch and not rest else None

    def is_milestone(self, step: int) -> bool:
        """Whether the run is measured whole after a step: at each epoch's end, and maybe between."""
        if step == 0:
            return False
        place = (step - 1) % self.steps_per_epoch
        done, todo = (each * self.measurements_an_epoch for each in (place, place + 1))
        return done // self.steps_per_epoch != todo // self.steps_per_epoch

    def learning_rate(self, step: int) -> float:
        """Return the rate of a step, from 1: linearly up in the warm-up, then as scheduled.

        Zero would be the step after the last: no step is wasted.
        """
        warm_up = max(1, round(self.optimizer.warmup_ratio * self.total_steps))
        if step < warm_up:
            return self.peak_learning_rate * step / warm_up
        left = (self.total_steps + 1 - step) / (self.total_steps + 1 - warm_up)
        match self.optimizer.lr_scheduler_type:
            case "linear":
                return self.peak_learning_rate * left
            case "cosine":
                return self.peak_learning_rate * (1 - math.cos(math.pi * left)) / 2
            case "constant":
                return self.peak_learning_rate

    def _order(self, epoch: int) -> list[int]:
        order = list(range(self.n_examples))
        random.Random(f"{self.seed} {epoch}").shuffle(order)  # noqa: S311 - no secret
        return order


def _measurements_an_epoch(spec: TrainingSpec, n_examples: int, n_validation: int) -> int:
    if n_validation == 0:
        return 1
    wanted = _MEASUREMENTS if spec.early_stopping is None else _MEASUREMENTS_TO_STOP
    n_steps = math.ceil(n_examples / spec.batch_size)
    most = min(n_steps // _STEPS_BETWEEN, n_examples // (_TRAINED_FOR_MEASURED * n_validation))
    return max(1, min(math.ceil(wanted / spec.n_epochs), most))
