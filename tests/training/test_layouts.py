"""Flat and padded batches against one document at a time."""

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedModel

from jobs.training.corpus import Document
from jobs.training.layouts import Flat, Padded, choose_layout
from jobs.training.model import TunedModel
from jobs.training.rows import Row
from jobs.training.scores import score
from tests.training import networks

FLAT = [
    networks.llama,
    networks.qwen2_with_biases,
    networks.qwen3,
    networks.gemma,
    networks.gemma3_with_a_window_below,
    networks.mistral_with_a_window,
]
NOT_FLAT = [networks.gemma2_with_soft_caps, networks.bloom_without_the_interface]


SHARING = [(50, 9), (50, 17, 12), (40, 30), (50, 17, 3), (22,), (50, 17, 12), (50, 300)]
"""Lengths of what documents consist of; alike up to the first part that differs."""


@pytest.mark.parametrize("make", FLAT)
def test_flat_where_possible(make: Callable[[], PreTrainedModel]) -> None:
    """A model whose attention goes through transformers' interface gets flat batches."""
    assert isinstance(choose_layout(make()), Flat)


@pytest.mark.parametrize("make", NOT_FLAT)
def test_padded_elsewhere(make: Callable[[], PreTrainedModel]) -> None:
    """A model whose attention cannot be replaced exactly keeps it, and gets padded batches."""
    network = make()
    before = network.config._attn_implementation

    assert isinstance(choose_layout(network), Padded)
    assert network.config._attn_implementation == before


@pytest.mark.parametrize("make", FLAT + NOT_FLAT)
def test_same_loss_and_gradient(make: Callable[[], PreTrainedModel]) -> None:
    """Documents run together give the loss and gradient of documents run alone."""
    documents = networks.documents(9, 1 + 5, 23, 14)
    alone = networks.tuned(make(), Padded())
    network = make()
    together = networks.tuned(network, choose_layout(network))

    expected_loss, expected = _loss_and_gradient(alone, [[document] for document in documents])
    loss, gradient = _loss_and_gradient(together, [documents])

    assert loss == pytest.approx(expected_loss, rel=1e-5)
    assert (gradient - expected).norm() < 1e-5 * expected.norm()


@pytest.mark.parametrize("make", FLAT)
def test_shared_beginnings_change_nothing(make: Callable[[], PreTrainedModel]) -> None:
    """What documents begin with is run once, and loss and gradient stay what they were."""
    documents = networks.documents_of(*SHARING)
    loss, gradient = _in_double_precision(make, documents, Flat())
    plain = Flat(shares_beginnings=False)
    expected_loss, expected = _in_double_precision(make, documents, plain)

    assert loss == pytest.approx(expected_loss, rel=1e-6)
    assert (gradient - expected).norm() < 1e-6 * expected.norm()
    assert len(Row.of(documents)) < sum(map(len, documents)) - 150


def test_flat_equals_padded() -> None:
    """Both layouts give the same logits, in the same order."""
    documents = networks.documents(7, 12, 30)
    flat_network, padded_network = networks.llama(), networks.llama()
    assert isinstance(choose_layout(flat_network), Flat)

    flat = Flat().logits(flat_network, documents)
    padded = Padded().logits(padded_network, documents)

    torch.testing.assert_close(flat, padded, rtol=1e-5, atol=1e-5)


def test_documents_do_not_see_each_other() -> None:
    """What a document's neighbour says changes nothing in it, to the last bit."""
    network = networks.llama()
    layout = choose_layout(network)
    first, second, other = networks.documents(12, 8, 12)

    beside_first = layout.logits(network, [first, second])[-second.n_trained :]
    beside_other = layout.logits(network, [other, second])[-second.n_trained :]

    assert torch.equal(beside_first, beside_other)


def _in_double_precision(
    make: Callable[[], PreTrainedModel], documents: list[Document], layout: Flat
) -> tuple[float, torch.Tensor]:
    # In float32 the order of sums alone moves these networks' gradients by up to 2e-6.
    network = make()
    assert isinstance(choose_layout(network), Flat)
    model = networks.tuned(network, layout)
    model.peft.double()
    return _loss_and_gradient(model, [documents])


def _loss_and_gradient(
    model: TunedModel, micro_batches: list[list[Document]]
) -> tuple[float, torch.Tensor]:
    total = 0.0
    for micro_batch in micro_batches:
        loss = score(model, micro_batch).objective
        loss.backward()
        total += float(loss.detach())
    return total, torch.cat([p.grad.flatten() for p in model.parameters.values()])
