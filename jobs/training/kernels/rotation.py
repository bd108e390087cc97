"""Rotary position embeddings as one autograd node (Su et al. 2021, arXiv 2104.09864)."""

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the pairs of each head, rounded where transformers rounds: the same to the bit.

    Args:
        x: (batch, heads, tokens, size); place i is paired with i + size / 2.
        cos: (batch or 1, tokens, size), both halves alike.
        sin: As cos.

    Returns:
        As x.
    """
    rotated: Tensor = _Rotate.apply(x, cos, sin)
    return rotated


class _Rotate(Function):  # type: ignore[misc] # torch's types are not followed
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        sin = torch.cat([-sin[..., :half], sin[..., half:]], -1)
        ctx.save_for_backward(cos, sin)
        rows = x.transpose(1, 2)  # (batch, tokens, heads, size), as it lies in memory
        turned = rows.roll(half, -1).mul_(sin.unsqueeze(2))
        return (rows * cos.unsqueeze(2)).add_(turned).transpose(1, 2)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, dy: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        rows = dy.transpose(1, 2)
        turned = (rows * sin.unsqueeze(2)).roll(rows.shape[-1] // 2, -1)
        return turned.addcmul_(rows, cos.unsqueeze(2)).transpose(1, 2), None, None
