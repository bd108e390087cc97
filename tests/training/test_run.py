"""One optimizer step: what it makes smaller, how far it goes, what it says of itself."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from jobs.training.corpus import Batch
from jobs.training.layouts import Padded, targets
from jobs.training.run import Run
from schemas.training import OptimizerSpec
from tests.training import networks


def make_run(*, budget: int = 1000, **optimizer: float) -> Run:
    model = networks.tuned(networks.llama(), Padded())
    run = Run(model, optimizer=OptimizerSpec(**optimizer), seed=1, tell=lambda _: None)
    run.budget.tokens = budget
    return run


def batch() -> Batch:
    documents = networks.documents(6, 9, 12, 20)
    return Batch(documents=documents, n_tokens=sum(map(len, documents)))


def moved(run: Run) -> dict[str, torch.Tensor]:
    """Take one step; return by how much each parameter moved."""
    before = {name: p.detach().clone() for name, p in run.model.parameters.items()}
    run.take_step(batch(), learning_rate=1e-3)
    return {name: p.detach() - before[name] for name, p in run.model.parameters.items()}


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("budget", [20, 1000])
def test_every_trained_token_weighs_the_same(smoothing: float, budget: int) -> None:
    """The gradient is that of one mean over all trained tokens, however the step is cut."""
    run = make_run(budget=budget, label_smoothing_factor=smoothing, max_grad_norm=0.0)
    documents = batch().documents
    logits = run.model.logits(documents).float()
    wanted = targets(documents, logits.device)
    cross_entropy(logits, wanted, label_smoothing=smoothing).backward()
    expected = {name: p.grad.clone() for name, p in run.model.parameters.items()}
    for parameter in run.model.parameters.values():
        parameter.grad = None

    taken = run.take_step(batch(), learning_rate=0.0)

    for name, parameter in run.model.parameters.items():
        torch.testing.assert_close(parameter.grad, expected[name], rtol=1e-4, atol=1e-6)
    # What is shown is without smoothing, to be held against validation's.
    assert taken.loss == pytest.approx(cross_entropy(logits, wanted).item(), rel=1e-5)


def test_b_learns_faster_than_a() -> None:
    """LoRA+ multiplies the rate of B, and leaves A's as it is."""
    plain, plus = moved(make_run()), moved(make_run(loraplus_lr_ratio=16.0))

    for name, distance in plain.items():
        times = 16 if "lora_B" in name else 1
        torch.testing.assert_close(plus[name], times * distance, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(("norm", "is_clipped"), [(0.0, False), (1e-3, True), (1e3, False)])
def test_clipping_is_told(norm: float, is_clipped: bool) -> None:
    """A gradient longer than the limit is cut to it, its own length shown; 0 is no limit."""
    run = make_run(max_grad_norm=norm)

    taken = run.take_step(batch(), learning_rate=0.0)

    assert taken.is_clipped is is_clipped
    assert taken.grad_norm > 1e-3
    left = torch.cat([p.grad.flatten() for p in run.model.parameters.values()]).norm()
    assert float(left) == pytest.approx(norm if is_clipped else taken.grad_norm, rel=1e-3)


def test_weights_decay() -> None:
    """Each parameter shrinks by its rate times the decay, beside what it learns."""
    before = {name: p.detach().clone() for name, p in make_run().model.parameters.items()}
    plain, decayed = moved(make_run()), moved(make_run(weight_decay=0.5))

    for name, distance in plain.items():
        shrunk = distance - 1e-3 * 0.5 * before[name]
        torch.testing.assert_close(decayed[name], shrunk, rtol=1e-3, atol=1e-6)
