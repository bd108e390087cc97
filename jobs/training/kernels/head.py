"""The head and its cross entropy as one autograd node, a few rows of logits at a time.

A vocabulary of 150,000 makes logits and their gradients the largest tensors of a step. The head is
frozen: all that is wanted is the gradient of what goes in, which is computed in the forward pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

_LOGITS_AT_ONCE: Final = {"cpu": 2**24, "cuda": 2**27}
"""By device: 64 MB of float32 and 512 MB, enough rows for fast products."""


@dataclass(frozen=True)
class Head:
    """A frozen linear layer from hidden states to logits."""

    layer: nn.Linear
    """weight: (vocabulary, size)."""
    logits_at_once: int

    @classmethod
    def of(cls, layer: nn.Linear) -> Self:
        """Return a layer as a head that suits its device."""
        return cls(layer, _LOGITS_AT_ONCE[layer.weight.device.type])

    @contextmanager
    def left_out(self) -> Iterator[None]:
        """Let the model return hidden states where it would return logits."""
        self.layer.forward = lambda hidden: hidden
        try:
            yield
        finally:
            del self.layer.forward


class Sums(NamedTuple):
    """Over rows, still on the device."""

    objective: Tensor
    """(), float32, nats: the loss with its smoothing. The only one with a gradient."""
    loss: Tensor
    """(), float32, nats."""
    hits: Tensor
    """(), int64: rows whose largest logit was the wanted one."""


def compare(hidden: Tensor, wanted: Tensor, head: Head, *, label_smoothing: float) -> Sums:
    """Return how far the head's predictions are from what is wanted.

    Args:
        hidden: (rows, size)
        wanted: (rows,), int64, of the vocabulary.
        head: Makes the logits.
        label_smoothing: Share of the objective that wants all of the vocabulary equally likely.
    """
    return Sums(*_Compare.apply(hidden, wanted, head, label_smoothing))


def compare_logits(logits: Tensor, wanted: Tensor, *, label_smoothing: float) -> Sums:
    """Return the same of logits that are there already: (rows, vocabulary)."""
    logits = _wide(logits)
    loss = objective = F.cross_entropy(logits, wanted, reduction="sum")
    if label_smoothing:
        objective = F.cross_entropy(
            logits, wanted, reduction="sum", label_smoothing=label_smoothing
        )
    hits = (logits.detach().argmax(-1) == wanted).sum()
    return Sums(objective=objective, loss=loss.detach(), hits=hits)


class _Rows(NamedTuple):
    """What some rows of logits say."""

    losses: Tensor
    """(rows,)"""
    losses_to_all: Tensor
    """(rows,): means over the vocabulary of what each of its tokens would have lost."""
    hits: Tensor
    """(rows,), bool."""
    gradient: Tensor | None
    """(rows, vocabulary): of the objective."""

    @classmethod
    def of(cls, logits: Tensor, wanted: Tensor, *, smoothing: float, wants_gradient: bool) -> Self:
        """Look at logits, which are overwritten."""
        largest, likeliest = logits.max(-1)
        at = wanted[:, None]
        at_wanted, mean = logits.gather(1, at)[:, 0], logits.mean(-1) if smoothing else largest
        probabilities = torch.softmax(logits, -1, out=logits)
        normalizer = largest - probabilities.gather(1, likeliest[:, None])[:, 0].log()
        if wants_gradient:
            probabilities.scatter_add_(1, at, logits.new_full(at.shape, smoothing - 1))
        if wants_gradient and smoothing:
            probabilities.sub_(smoothing / logits.shape[1])
        return cls(
            losses=normalizer - at_wanted,
            losses_to_all=normalizer - mean,
            hits=likeliest == wanted,
            gradient=probabilities if wants_gradient else None,
        )


class _Compare(Function):  # type: ignore[misc] # torch's types are not followed
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, wanted: Tensor, head: Head, smoothing: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        weight, bias = head.layer.weight.detach(), head.layer.bias
        n_rows = max(1, head.logits_at_once // len(weight))
        d_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        losses, to_all = hidden.new_zeros(2, dtype=_wide_dtype(hidden)).unbind()
        hits = wanted.new_zeros(())
        for begin in range(0, len(hidden), n_rows):
            part = slice(begin, begin + n_rows)
            rows = _Rows.of(
                _wide(F.linear(hidden[part], weight, bias)),
                wanted[part],
                smoothing=smoothing,
                wants_gradient=d_hidden is not None,
            )
            losses += rows.losses.sum()
            to_all += rows.losses_to_all.sum()
            hits += rows.hits.sum()
            if d_hidden is not None and rows.gradient is not None:
                torch.mm(rows.gradient.to(hidden.dtype), weight, out=d_hidden[part])
        ctx.save_for_backward(d_hidden)
        ctx.mark_non_differentiable(losses, hits)
        return (1 - smoothing) * losses + smoothing * to_all, losses, hits

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(
        ctx: FunctionCtx, d_objective: Tensor, *_nothing: Tensor
    ) -> tuple[Tensor, None, None, None]:
        (d_hidden,) = ctx.saved_tensors
        # Wide: one over the number of trained tokens, rounded to bfloat16, would be off for all.
        return (_wide(d_hidden) * d_objective).to(d_hidden.dtype), None, None, None


def _wide(x: Tensor) -> Tensor:
    return x.to(_wide_dtype(x))


def _wide_dtype(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
