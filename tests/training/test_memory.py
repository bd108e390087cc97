"""Micro-batches, and what happens when memory runs out."""

import pytest
import torch

from jobs.training.corpus import Batch
from jobs.training.layouts import Padded
from jobs.training.model import TunedModel
from jobs.training.run import Run
from schemas.errors import JobFailure
from schemas.training import Noted, OptimizerSpec
from tests.training import networks


class SmallMemory(Padded):
    """Runs out of memory beyond so many tokens, as an accelerator would."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens
        self.calls = 0

    def logits(self, network, documents):
        self.calls += 1
        if sum(map(len, documents)) > self.tokens:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return super().logits(network, documents)


def small_run(layout: Padded, *, budget: int, told: list[Noted] | None = None) -> Run:
    model: TunedModel = networks.tuned(networks.llama(), layout)
    told = [] if told is None else told
    run = Run(model, optimizer=OptimizerSpec(), seed=1, tell=told.append)
    run.budget.tokens = budget
    return run


def batch() -> Batch:
    documents = networks.documents(6, 9, 12, 20)
    return Batch(documents=documents, n_tokens=sum(map(len, documents)))


def test_groups_hold_at_most_the_budget() -> None:
    """Documents are packed longest first; what is beyond the budget runs alone."""
    groups = Padded().pack(networks.documents(6, 9, 30, 12, 2), 20)

    assert [[len(document) for document in group] for group in groups] == [[30], [12], [9, 6, 2]]


def test_micro_batches_do_not_change_the_step() -> None:
    """A step in micro-batches learns what the same step learns at once."""
    at_once, in_pieces = small_run(Padded(), budget=1000), small_run(Padded(), budget=20)

    whole = at_once.take_step(batch(), learning_rate=1e-3)
    pieces = in_pieces.take_step(batch(), learning_rate=1e-3)

    assert pieces.loss == pytest.approx(whole.loss, rel=1e-5)
    assert pieces.accuracy == whole.accuracy
    assert pieces.grad_norm == pytest.approx(whole.grad_norm, rel=1e-5)
    for name, parameter in in_pieces.model.parameters.items():
        theirs = at_once.model.parameters[name]
        torch.testing.assert_close(parameter, theirs, rtol=1e-4, atol=1e-5)


def test_out_of_memory_halves_and_goes_on() -> None:
    """A step that does not fit is done again in halves, and learns exactly the same."""
    told: list[Noted] = []
    roomy = small_run(Padded(), budget=22)
    tight = small_run(SmallMemory(22), budget=1000, told=told)

    expected = roomy.take_step(batch(), learning_rate=1e-3)
    taken = tight.take_step(batch(), learning_rate=1e-3)

    assert tight.budget.tokens <= 23
    assert [(note.step, note.key, note.level) for note in told] == [(1, "memory-23", "warn")]
    assert taken.loss == pytest.approx(expected.loss, rel=1e-6)
    assert taken.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5)


def test_one_document_too_many_fails() -> None:
    """Only a single document that does not fit ends the job, in words that help."""
    run = small_run(SmallMemory(15), budget=1000)

    with pytest.raises(JobFailure, match="20 tokens does not fit") as failure:
        run.take_step(batch(), learning_rate=1e-3)
    assert failure.value.code == "out_of_memory"


def test_what_was_learned_about_memory_stays() -> None:
    """The next step begins with the budget that fitted."""
    layout = SmallMemory(22)
    run = small_run(layout, budget=1000)
    run.take_step(batch(), learning_rate=1e-3)
    calls = layout.calls

    run.take_step(batch(), learning_rate=1e-3)

    assert layout.calls - calls == len(layout.pack(batch().documents, run.budget.tokens))


def test_other_errors_fly() -> None:
    """An error that is not about memory is not tried again."""

    class Broken(Padded):
        def logits(self, _network, _documents):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="mat1"):
        small_run(Broken(), budget=100).take_step(batch(), learning_rate=1e-3)


def test_no_number_ends_the_job() -> None:
    """A loss that is not finite ends the job as diverged, not with a broken model."""

    class Diverging(Padded):
        def logits(self, network, documents):
            return super().logits(network, documents) * float("inf")

    with pytest.raises(JobFailure, match="step 1") as failure:
        small_run(Diverging(), budget=100).take_step(batch(), learning_rate=1e-3)
    assert failure.value.code == "diverged"
