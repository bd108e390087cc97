"""Frozen linear layers with LoRA adapters as one autograd node.

y = x W' + b + s (x A') B', with W and b frozen, A and B float32 masters (Hu et al. 2021,
arXiv 2106.09685, section 4.1). Plain modules cast x to float32 for the adapter's products, save it
twice, and differentiate each step by itself; here x is saved once and everything is multiplied in
x's dtype. Layers that read the same x are one product.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

_ALIKE: Final = 1024
"""Bytes: rows of a matrix that lie a multiple of them apart share a small part of a processor's cache."""
_APART: Final = 16
"""Numbers to lie apart by, more than that."""


@dataclass(frozen=True)
class LoraLinear:
    """A linear layer and its adapter."""

    weight: torch.nn.Parameter
    """(out, in), frozen."""
    bias: torch.nn.Parameter | None
    """(out,), frozen."""
    A: torch.nn.Parameter
    """(rank, in), as it trains: float32."""
    B: torch.nn.Parameter
    """(out, rank)."""
    scale: float
    """Of the adapter's part: alpha / rank, or alpha / sqrt(rank)."""


@dataclass(frozen=True)
class Joined:
    """Layers that read the same input, as one layer: their outputs lie side by side."""

    layers: tuple[LoraLinear, ...]
    weight: Tensor
    """(outs, in)"""
    bias: Tensor | None
    """(outs,)"""

    @classmethod
    def of(cls, layers: Sequence[LoraLinear]) -> Self:
        """Join layers. Their weights move together, where they do not lie so already."""
        weight = lay_together([layer.weight for layer in layers])
        return cls(tuple(layers), weight, _joined_bias(layers))

    @property
    def out_sizes(self) -> list[int]:
        """Columns of the output that are each layer's."""
        return [len(layer.weight) for layer in self.layers]

    @property
    def ranks(self) -> list[int]:
        """Columns of x A' that are each layer's."""
        return [len(layer.A) for layer in self.layers]

    @property
    def masters(self) -> list[Tensor]:
        """What trains: A, B of the first layer, A, B of the second, and so on."""
        return [master for layer in self.layers for master in (layer.A, layer.B)]


class Factors(NamedTuple):
    """The adapters of joined layers, in the dtype that multiplies."""

    A: Tensor
    """(ranks, in): one below the other."""
    B: list[Tensor]
    """(out, rank) each, times its scale."""

    @classmethod
    def of(cls, joined: Joined, dtype: torch.dtype) -> Self:
        """Cast the masters as they are now."""
        return cls(
            A=torch.cat([layer.A.detach() for layer in joined.layers]).to(dtype),
            B=[(layer.B.detach() * layer.scale).to(dtype) for layer in joined.layers],
        )


def lay_together(weights: Sequence[torch.nn.Parameter]) -> Tensor:
    """Let frozen weights lie one below the other in memory; return the whole: (outs, in).

    They keep their numbers and are parts of the whole from then on. Safe to repeat.
    """
    first, *others = weights
    end = first.data_ptr() + first.nbytes
    lies_so = True
    for weight in others:
        lies_so = lies_so and weight.data_ptr() == end and _is_of(first.untyped_storage(), weight)
        end += weight.nbytes
    if lies_so:
        n_outs = sum(len(weight) for weight in weights)
        return first.detach().as_strided((n_outs, first.shape[1]), first.stride())
    whole = torch.cat([weight.detach() for weight in weights])
    for weight, part in zip(weights, whole.split([len(w) for w in weights]), strict=True):
        weight.data = part
    return whole


def project(x: Tensor, joined: Joined) -> tuple[Tensor, ...]:
    """Apply joined layers.

    Args:
        x: (…, in), in the weights' dtype.
        joined: The layers; gradients go to their A and B, and to x where it asks for one.

    Returns:
        (…, out) for each layer. They are parts of one tensor: not to be written into.
    """
    outputs: tuple[Tensor, ...] = _Project.apply(x, joined, *joined.masters)
    return outputs


def multiply(x: Tensor, joined: Joined, factors: Factors) -> tuple[Tensor, Tensor]:
    """Return y = x W' + b + s (x A') B', and x A': (tokens, outs) and (tokens, ranks).

    Args:
        x: (tokens, in)
        joined: The layers.
        factors: Of the layers.
    """
    y = rows_apart(x, len(joined.weight))
    if joined.bias is None:
        torch.mm(x, joined.weight.t(), out=y)
    else:
        torch.addmm(joined.bias, x, joined.weight.t(), out=y)
    inner = x @ factors.A.t()
    parts = zip(y.split(joined.out_sizes, 1), inner.split(joined.ranks, 1), factors.B, strict=True)
    for y_part, inner_part, B in parts:
        y_part.addmm_(inner_part, B.t())
    return y, inner


def differentiate(
    dy: Tensor, x: Tensor, inner: Tensor, joined: Joined, factors: Factors, *, wants_dx: bool
) -> tuple[Tensor | None, list[Tensor]]:
    """Return the gradients of `multiply`: of x, where wanted, and of the masters, in their order.

    Args:
        dy: (tokens, outs)
        x: As it was given.
        inner: As it was returned.
        joined: The layers.
        factors: As they were given.
        wants_dx: False for a model's first layers: nothing before them learns.
    """
    dy_parts = dy.split(joined.out_sizes, 1)
    d_inner = side_by_side([part @ B for part, B in zip(dy_parts, factors.B, strict=True)])
    dA = (d_inner.t() @ x).split(joined.ranks)
    d_masters = []
    for layer, layer_dA, dy_part, inner_part in zip(
        joined.layers, dA, dy_parts, inner.split(joined.ranks, 1), strict=True
    ):
        dB = (inner_part.t() @ dy_part).t().to(layer.B.dtype, memory_format=torch.contiguous_format)
        d_masters += [layer_dA.to(layer.A.dtype), dB.mul_(layer.scale)]
    if not wants_dx:
        return None, d_masters
    dx = torch.mm(dy, joined.weight, out=rows_apart(dy, x.shape[1]))
    return dx.addmm_(d_inner, factors.A), d_masters


def rows_apart(like: Tensor, n_columns: int) -> Tensor:
    """Return an uninitialized (rows of `like`, columns) whose rows do not crowd out each other.

    Down the columns of 2,048 rows of 4 KB, each in the same sets of a CPU's cache, a narrow product
    took five times as long as where rows lie a little further apart.
    """
    n_between = _APART if like.is_cpu and n_columns * like.itemsize % _ALIKE == 0 else 0
    return like.new_empty(len(like), n_columns + n_between)[:, :n_columns]


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Return (rows, columns of all); a single part as it is, not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)


class _Project(Function):  # type: ignore[misc] # torch's types are not followed
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, joined: Joined, *_masters: Tensor
    ) -> tuple[Tensor, ...]:
        rows = x.reshape(-1, x.shape[-1])
        factors = Factors.of(joined, x.dtype)
        y, inner = multiply(rows, joined, factors)
        ctx.save_for_backward(rows, inner, factors.A, *factors.B)
        ctx.joined = joined
        ctx.shape = x.shape
        return tuple(part.view(*x.shape[:-1], -1) for part in y.split(joined.out_sizes, 1))

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, *dys: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, A, *B = ctx.saved_tensors
        dy = side_by_side([part.reshape(len(x), -1) for part in dys])
        dx, d_masters = differentiate(
            dy, x, inner, ctx.joined, Factors(A, B), wants_dx=ctx.needs_input_grad[0]
        )
        return (None if dx is None else dx.view(ctx.shape), None, *d_masters)


def _is_of(storage: torch.UntypedStorage, weight: torch.nn.Parameter) -> bool:
    is_of: bool = weight.untyped_storage().data_ptr() == storage.data_ptr()
    return is_of


def _joined_bias(layers: Sequence[LoraLinear]) -> Tensor | None:
    if all(layer.bias is None for layer in layers):
        return None
    biases = [
        layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias.detach()
        for layer in layers
    ]
    return torch.cat(biases)
