"""How a run has gone so far: which of its models is the best, and whether its loss runs away. Pure.

Kept in the resume point beside the weights, so that a run that was killed decides as one that was not.
"""

import math
from typing import Final, Self

from schemas.base import Schema
from schemas.fine_tuning import EarlyStopping

LOOK_EVERY: Final = 32
"""Steps whose losses are looked at together: one hard example is no divergence."""
RUNAWAY_NATS: Final = 0.5
"""Over the untrained model's loss: a token is then, in the mean, 1.6 times less likely than before."""
GUESSES_WITHIN: Final = 0.02
"""Nats around the logarithm of the vocabulary. A rate far too high may end in a model that finds every
token equally likely; on the tiny base the untrained one's loss was above that."""


class Measurement(Schema):
    """What the whole validation file said of a model."""

    step: int
    loss: float | None
    """Mean over trained tokens, in nats; None where it was no finite number."""

    @property
    def height(self) -> float:
        """The loss as a number to compare by."""
        return math.inf if self.loss is None else self.loss


class Course(Schema):
    """All that a run remembers beside its weights."""

    measurements: tuple[Measurement, ...] = ()
    """Oldest first."""
    start_loss: float | None = None
    """Of the untrained model, on the examples that `jobs.training.lookout` asks again."""
    guessing_loss: float | None = None
    """Of a model to which all tokens are equally likely."""
    recent_losses: tuple[float, ...] = ()
    """Of the steps since the last look."""
    n_bad_looks: int = 0
    """In a row."""

    @property
    def best(self) -> Measurement | None:
        """The lowest loss, the earliest of equals; None where nothing was measured."""
        return min(self.measurements, key=lambda each: each.height, default=None)

    def is_measured_at(self, step: int) -> bool:
        """Whether the last measurement was that of a step."""
        return bool(self.measurements) and self.measurements[-1].step == step

    def measured(self, step: int, loss: float | None) -> Self:
        """Return the course after a measurement."""
        measurement = Measurement(step=step, loss=loss)
        return self.model_copy(update={"measurements": (*self.measurements, measurement)})

    def n_without_gain(self, min_gain: float) -> int:
        """Return how many measurements in a row brought nothing, up to now.

        Args:
            min_gain: Nats by which the loss must fall below the last gain's to be one.
        """
        reference, n_without = math.inf, 0
        for each in self.measurements:
            if each.height < reference - min_gain:
                reference, n_without = each.height, 0
            else:
                n_without += 1
        return n_without

    def is_exhausted(self, asked: EarlyStopping | None) -> bool:
        """Whether to stop, by what was asked for."""
        return asked is not None and self.n_without_gain(asked.min_gain) >= asked.patience

    def after_step(self, loss: float) -> Self:
        """Return the course after a step."""
        return self.model_copy(update={"recent_losses": (*self.recent_losses, loss)})

    def is_guessing(self, loss: float) -> bool:
        """Whether a loss is that of a model which has forgotten everything."""
        return self.guessing_loss is not None and abs(loss - self.guessing_loss) < GUESSES_WITHIN

    def is_ruined(self, loss: float | None) -> bool:
        """Whether a loss on the examples of the start says that training made the model worse."""
        if loss is None or self.start_loss is None:
            return loss is None
        has_forgotten = self.is_guessing(loss) and not self.is_guessing(self.start_loss)
        return loss > self.start_loss + RUNAWAY_NATS or has_forgotten

    @property
    def looks_bad(self) -> bool:
        """Whether most of the recent steps had such a loss; right after a look, whether that found one.

        On other examples than those of the start: a suspicion, no proof.
        """
        if not self.recent_losses:
            return self.n_bad_looks > 0
        return 2 * sum(map(self.is_ruined, self.recent_losses)) > len(self.recent_losses)

    def looked(self, *, is_worse: bool) -> Self:
        """Return the course after a look, with what it found."""
        n_bad_looks = self.n_bad_looks + 1 if is_worse else 0
        return self.model_copy(update={"recent_losses": (), "n_bad_looks": n_bad_looks})
