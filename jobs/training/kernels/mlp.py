"""A gated MLP with LoRA adapters as one autograd node: down(act(gate(x)) * up(x)).

Shazeer 2020, arXiv 2002.05202. Kept for the backward pass are x and the outputs of gate and up;
what follows from them is computed again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional as F

from jobs.training.kernels.lora import Factors, Joined, differentiate, multiply, rows_apart


class Activation(NamedTuple):
    """What the gate goes through."""

    act: Callable[[Tensor], Tensor]
    with_slope: Callable[[Tensor], tuple[Tensor, Tensor]]
    """Of x, returns act(x), rounded a little otherwise, and its derivative."""


@dataclass(frozen=True)
class GatedMlp:
    """The layers of a gated MLP."""

    gate_up: Joined
    """Gate and up, or one layer whose first half is the gate."""
    down: Joined
    activation: Activation


def apply_mlp(x: Tensor, mlp: GatedMlp) -> Tensor:
    """Return (…, out) for x: (…, in); gradients go to the adapters, and to x where it asks for one."""
    y: Tensor = _GatedMlp.apply(x, mlp, *mlp.gate_up.masters, *mlp.down.masters)
    return y


def find_activation(module: Callable[[Tensor], Tensor]) -> Activation | None:
    """Return the activation that computes what `module` does, to the bit; None where we have none."""
    probe = torch.linspace(-6, 6, 101)
    computed = module(probe)
    return next((each for each in ACTIVATIONS if torch.equal(each.act(probe), computed)), None)


def _silu_with_slope(x: Tensor) -> tuple[Tensor, Tensor]:
    # One exponential, which on a CPU costs more than all the rest.
    gate = torch.sigmoid(x)
    y = x * gate
    return y, torch.addcmul(y, y, gate, value=-1).add_(gate)


def _gelu(approximate: str) -> Activation:
    def act(x: Tensor) -> Tensor:
        return F.gelu(x, approximate=approximate)

    def with_slope(x: Tensor) -> tuple[Tensor, Tensor]:
        ones = torch.ones_like(x)
        return act(x), torch.ops.aten.gelu_backward(ones, x, approximate=approximate)

    return Activation(act, with_slope)


ACTIVATIONS: Final = (Activation(F.silu, _silu_with_slope), _gelu("tanh"), _gelu("none"))


class _GatedMlp(Function):  # type: ignore[misc] # torch's types are not followed
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, mlp: GatedMlp, *_masters: Tensor) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])
        gate_up_factors = Factors.of(mlp.gate_up, x.dtype)
        down_factors = Factors.of(mlp.down, x.dtype)
        gate_up, gate_up_inner = multiply(rows, mlp.gate_up, gate_up_factors)
        gate, up = gate_up.chunk(2, 1)
        hidden = torch.mul(mlp.activation.act(gate), up, out=rows_apart(rows, up.shape[1]))
        y, down_inner = multiply(hidden, mlp.down, down_factors)
        ctx.save_for_backward(
            rows,
            gate_up,
            gate_up_inner,
            down_inner,
            *(gate_up_factors.A, *gate_up_factors.B),
            *(down_factors.A, *down_factors.B),
        )
        ctx.mlp = mlp
        ctx.shape = x.shape
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, gate_up, gate_up_inner, down_inner, *factors = ctx.saved_tensors
        mlp: GatedMlp = ctx.mlp
        *gate_up_factors, down_A, down_B = factors
        gate, up = gate_up.chunk(2, 1)
        active, slope = mlp.activation.with_slope(gate)

        d_hidden, d_down = differentiate(
            dy.reshape(len(x), -1),
            torch.mul(active, up, out=rows_apart(x, up.shape[1])),
            down_inner,
            mlp.down,
            Factors(down_A, [down_B]),
            wants_dx=True,
        )
        assert d_hidden is not None
        d_gate_up = rows_apart(x, gate_up.shape[1])
        d_gate, d_up = d_gate_up.chunk(2, 1)
        torch.mul(d_hidden, active, out=d_up)
        torch.mul(d_hidden.mul_(up), slope, out=d_gate)
        dx, d_masters = differentiate(
            d_gate_up,
            x,
            gate_up_inner,
            mlp.gate_up,
            Factors(gate_up_factors[0], gate_up_factors[1:]),
            wants_dx=ctx.needs_input_grad[0],
        )
        return (None if dx is None else dx.view(ctx.shape), None, *d_masters, *d_down)
