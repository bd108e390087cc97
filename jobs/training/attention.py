"""Attention within documents that lie end to end in one row: no padding, no mask."""

from itertools import accumulate
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

NAME: Final = "retune_documents"
_VARLEN_DTYPES: Final = (torch.bfloat16, torch.float16)
_MAX_VARLEN_HEAD: Final = 256
_FLOAT32_FASTER_UP_TO: Final = 512
"""Tokens of a document. On a CPU with AVX512_BF16 and 48 tokens, forward and backward took 1.6 ms in
bfloat16 and 0.5 ms in float32 with the casts; 6.8 and 5.2 ms at 200, 71 and 81 ms at 1,000."""
_States = tuple[Tensor, Tensor, Tensor]
"""Query, key, value."""


class DocumentBounds:
    """Where each document of a flat row begins and ends.

    Args:
        lengths: Tokens of each document, in order.
        device: Where the row lies.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.lengths = lengths
        self.longest = max(lengths)
        self.cumulative = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)


class UnknownAttention(Exception):
    """The model asks for something that document attention does not do."""


def register() -> None:
    """Offer document attention to transformers, under `NAME`. Safe to repeat.

    No mask function goes with it: transformers then builds no mask at all.
    """
    AttentionInterface.register(NAME, attend_within_documents)


def attend_within_documents(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,  # noqa: ARG001 - there is none; the interface passes it
    *,
    bounds: DocumentBounds,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **unknown: object,
) -> tuple[Tensor, None]:
    """Attend causally within each document.

    Args:
        module: The attention layer that asks.
        query: (1, heads, tokens, head size).
        key: (1, key heads, tokens, head size); key heads divide heads.
        value: As key.
        attention_mask: Not looked at.
        bounds: Of the documents; their lengths add up to tokens.
        scaling: Of the scores; None: one over the root of the head size.
        sliding_window: A token sees itself and the `sliding_window - 1` before it.
        dropout: Must be 0.
        is_causal: Must not be False.
        unknown: What else the model says; what would change scores is refused.

    Returns:
        (1, tokens, heads, head size), and no weights.

    Raises:
        UnknownAttention: Scores would have to be changed (soft cap, sinks, position bias).
    """
    changes_scores = any(
        unknown.get(name) is not None for name in ("softcap", "s_aux", "position_bias")
    )
    if changes_scores or dropout or is_causal is False or not getattr(module, "is_causal", True):
        raise UnknownAttention(type(module).__name__)
    attend = _attend_varlen if _fits_varlen(query, key, value) else _attend_one_by_one
    return attend((query, key, value), bounds, scaling=scaling, window=sliding_window), None


def _fits_varlen(query: Tensor, key: Tensor, value: Tensor) -> bool:
    return (
        query.is_cuda
        and query.dtype in _VARLEN_DTYPES
        and query.shape[-1] == key.shape[-1] == value.shape[-1] <= _MAX_VARLEN_HEAD
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )


def _attend_varlen(
    states: _States, bounds: DocumentBounds, *, scaling: float | None, window: int | None
) -> Tensor:
    # one kernel for all documents; it wants (tokens, heads, head size)
    out = varlen_attn(
        *(each[0].transpose(0, 1) for each in states),
        bounds.cumulative,
        bounds.cumulative,
        bounds.longest,
        bounds.longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=_is_grouped(states),
    )
    assert isinstance(out, Tensor)
    return out[None]


def _attend_one_by_one(
    states: _States, bounds: DocumentBounds, *, scaling: float | None, window: int | None
) -> Tensor:
    dtype = states[0].dtype
    if states[0].device.type == "cpu" and bounds.longest <= _FLOAT32_FASTER_UP_TO:
        states = (states[0].float(), states[1].float(), states[2].float())
    documents = zip(*(each.split(bounds.lengths, dim=2) for each in states), strict=True)
    attended = [
        F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=(mask := _window_mask(q.shape[2], window, q.device)),
            is_causal=mask is None,
            scale=scaling,
            enable_gqa=_is_grouped(states),
        )
        for q, k, v in documents
    ]
    return torch.cat(attended, dim=2).transpose(1, 2).to(dtype)


def _is_grouped(states: _States) -> bool:
    query, key, _ = states
    return bool(query.shape[1] != key.shape[1])


def _window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    if window is None or length <= window:
        return None  # plain causal attention, which has a faster kernel
    ones = torch.ones(length, length, dtype=torch.bool, device=device)
    return ones.tril().triu(1 - window)
