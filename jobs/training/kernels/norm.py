"""Root mean square norms as one autograd node (Zhang and Sennrich 2019, arXiv 1910.07467)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable


@dataclass(frozen=True)
class RmsNorm:
    """A frozen norm over the last dimension."""

    weight: Tensor
    """(size,), in the model's dtype."""
    eps: float
    is_offset: bool
    """Gemma's: times 1 + weight, before rounding; elsewhere times weight, after it."""


def apply_norm(x: Tensor, norm: RmsNorm) -> Tensor:
    """Return (…, size), rounded where the plain modules round: the same to the bit."""
    y: Tensor = _RmsNorm.apply(x, norm)
    return y


class _RmsNorm(Function):  # type: ignore[misc] # torch's types are not followed
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, norm: RmsNorm) -> Tensor:
        wide = _widened(x)
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + norm.eps)
        ctx.save_for_backward(x, scale)
        ctx.norm = norm
        normed = wide * scale
        if norm.is_offset:
            return normed.mul_(1 + _widened(norm.weight)).to(x.dtype)
        return normed.to(x.dtype).mul_(norm.weight)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor, None]:
        x, scale = ctx.saved_tensors
        norm: RmsNorm = ctx.norm
        weight = _widened(norm.weight)
        normed = _widened(x) * scale
        d_normed = _widened(dy) * (1 + weight if norm.is_offset else weight)
        along = (d_normed * normed).mean(-1, keepdim=True)
        # What lies along x is lost: a longer x gives the same.
        dx = d_normed.addcmul_(normed, along, value=-1).mul_(scale)
        return dx.to(x.dtype), None


def _widened(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
