"""Looks out for a loss that runs away: a model that training makes worse ends the job, unpublished."""

import math
from typing import Final

from jobs.training.course import LOOK_EVERY
from jobs.training.data import Data
from jobs.training.failures import ran_away
from jobs.training.plan import Plan
from jobs.training.run import Run
from jobs.training.scores import evaluate

_EXAMPLES: Final = 8
_BAD_LOOKS: Final = 2
"""In a row: 64 steps. A rate that was high for a moment may have shaken the model, and it recovers."""


class Lookout:
    """Asks the same few training examples before training, and again when the steps' losses look bad.

    The same examples, because batches differ: a run whose examples are noisy, or begin with easy
    ones, looks bad now and then, but its model is no worse at these than it was. A first batch that
    is large enough is these examples: its step tells the loss before it, and no pass is spent.

    Args:
        run: What is watched.
        data: Its files.
        plan: Its steps.
    """

    def __init__(self, run: Run, data: Data, plan: Plan) -> None:
        self._run = run
        _, examples = next(plan.batches(after=0))
        first = data.training.batch(examples).documents
        self._asks_first_batch = len(first) >= _EXAMPLES
        self._documents = (
            first if self._asks_first_batch else data.training.sample(_EXAMPLES).documents
        )

    def begin(self) -> None:
        """Measure the untrained model; do nothing where training has begun, or its first step will tell."""
        if self._run.step == 0 and not self._asks_first_batch:
            self._start_from(self._measure())

    def look(self) -> None:
        """Look, each 32nd step.

        Raises:
            JobFailure: `diverged`: two looks in a row found the model ruined.
        """
        if self._run.step == 1 and self._asks_first_batch and self._run.last is not None:
            self._start_from(self._run.last.loss)
        if len(self._run.course.recent_losses) >= LOOK_EVERY:
            self._judge(patience=_BAD_LOOKS)

    def end(self) -> None:
        """Look at what training came to, whatever its steps were.

        Raises:
            JobFailure: `diverged`: the model is ruined.
        """
        self._judge(patience=1)

    def _start_from(self, loss: float | None) -> None:
        losses = {
            "start_loss": loss,
            "guessing_loss": math.log(self._run.model.vocabulary_size),
        }
        self._run.course = self._run.course.model_copy(update=losses)

    def _judge(self, *, patience: int) -> None:
        run, start = self._run, self._run.course.start_loss
        if start is None or not run.course.looks_bad:
            run.course = run.course.looked(is_worse=False)
            return
        now = self._measure()
        run.course = run.course.looked(is_worse=run.course.is_ruined(now))
        if run.course.n_bad_looks >= patience:
            is_guessing = now is not None and run.course.is_guessing(now)
            raise ran_away(run.step, start=start, now=now, is_guessing=is_guessing)

    def _measure(self) -> float | None:
        run = self._run
        means = evaluate(run.model, self._documents, budget=run.budget, group=run.group)
        return means.loss if means else None
