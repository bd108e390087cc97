"""What the worker is told of a run, as `schemas.training` events."""

import resource
import sys
from itertools import chain, islice
from typing import Final

import torch

from jobs.training.data import Data
from jobs.training.plan import Plan
from jobs.training.process import Preemption
from jobs.training.run import Run
from jobs.training.scores import Means, count_trained, evaluate
from schemas.training import StepDone, TrainingDone, TrainingStarted

_SAMPLED_EVERY: Final = 10
_SAMPLE_EXAMPLES: Final = 8


class Reports:
    """Puts a run into events; measures it on the validation file for them.

    Args:
        run: What is reported.
        plan: Its steps.
        data: Its files.
        preemption: Looked at while the whole validation file is measured, which may take long.
    """

    def __init__(self, run: Run, *, plan: Plan, data: Data, preemption: Preemption) -> None:
        self._run = run
        self._plan = plan
        self._data = data
        self._preemption = preemption

    def started(self) -> TrainingStarted:
        """Say what is about to be trained."""
        device = self._run.model.device
        is_cuda = device.type == "cuda"
        return TrainingStarted(
            total_steps=self._plan.total_steps,
            resumed_at_step=self._run.step,
            n_examples=len(self._data.training),
            n_trainable_parameters=sum(p.numel() for p in self._run.model.parameters.values()),
            device=torch.cuda.get_device_name(device) if is_cuda else device.type,
        )

    def step(self) -> StepDone:
        """Say what the last step did; each tenth time, measure a small fixed sample."""
        is_sampled = self._run.step % _SAMPLED_EVERY == 0
        return self._step(sample=self._sample() if is_sampled else None, whole=None)

    @property
    def measures(self) -> bool:
        """Whether there is something to measure on."""
        return self._data.validation is not None

    def milestone(self) -> StepDone:
        """Say what the last step did, and measure the whole validation file.

        Raises:
            Preempted: The process was asked to go.
        """
        is_last = self._run.step == self._plan.total_steps
        is_sampled = is_last or self._run.step % _SAMPLED_EVERY == 0
        return self._step(sample=self._sample() if is_sampled else None, whole=self._whole())

    def done(self) -> TrainingDone:
        """Say what all steps together have read."""
        training, plan = self._data.training, self._plan
        n_epochs, n_steps = divmod(self._run.step, plan.steps_per_epoch)
        begun = islice(plan.batches(after=n_epochs * plan.steps_per_epoch), n_steps)
        # Whole epochs count the examples that train nothing too, as OpenAI does.
        rest = training.batch(chain.from_iterable(examples for _, examples in begun))
        return TrainingDone(
            trained_tokens=training.n_tokens * n_epochs + rest.n_tokens,
            loss_tokens=training.n_trained * n_epochs + count_trained(rest.documents),
            peak_memory_bytes=_peak_memory(self._run.model.device),
        )

    def _step(self, *, sample: Means | None, whole: Means | None) -> StepDone:
        taken = self._run.last
        assert taken is not None, "a step was taken, or restored"
        return StepDone(
            step=self._run.step,
            total_steps=self._plan.total_steps,
            train_loss=taken.loss,
            train_mean_token_accuracy=taken.accuracy,
            learning_rate=taken.learning_rate,
            grad_norm=taken.grad_norm,
            grad_clipped=taken.is_clipped,
            tokens=taken.n_tokens,
            seconds=taken.seconds,
            valid_loss=sample.loss if sample else None,
            valid_mean_token_accuracy=sample.accuracy if sample else None,
            full_valid_loss=whole.loss if whole else None,
            full_valid_mean_token_accuracy=whole.accuracy if whole else None,
        )

    def _sample(self) -> Means | None:
        if self._data.validation is None:
            return None
        documents = self._data.validation.sample(_SAMPLE_EXAMPLES).documents
        run = self._run
        return evaluate(run.model, documents, budget=run.budget, group=run.group)

    def _whole(self) -> Means | None:
        if self._data.validation is None:
            return None
        run, documents = self._run, self._data.validation.whole().documents
        # Several processes make different numbers of passes, and can only agree to go after them.
        alone = run.group.size == 1
        means = evaluate(
            run.model,
            documents,
            budget=run.budget,
            group=run.group,
            before_each=self._preemption.check if alone else _go_on,
        )
        run.group.check(self._preemption)
        return means


def _go_on() -> None:
    return


def _peak_memory(device: torch.device) -> int:
    """Return bytes, as `TrainingDone` means them."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_reserved(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # getrusage(2): KiB, but for macOS
