"""Attention of documents that lie end to end in one row, in segments: no padding, no mask."""

from collections.abc import Callable
from functools import cached_property
from itertools import accumulate
from typing import Final

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from jobs.training.blocks import Bundle, attend_in_blocks, bundle_up
from jobs.training.rows import Segment

NAME: Final = "retune_documents"
_VARLEN_DTYPES: Final = (torch.bfloat16, torch.float16)
_MAX_VARLEN_HEAD: Final = 256
_States = tuple[Tensor, Tensor, Tensor]
"""Query, key, value."""


class Segments:
    """Who sees whom in a row, in the form that each kernel wants.

    Made once for a row and used by all layers.

    Args:
        segments: In order, without a gap.
        device: Where the row lies.
        asked: (places,), int64, each once: where in the row something is predicted; None: everywhere.
    """

    def __init__(
        self, segments: list[Segment], device: torch.device, *, asked: Tensor | None = None
    ) -> None:
        self._segments = segments
        self._device = device
        self.asked = asked
        """Elsewhere the last layer need not go on after its attention."""

    @cached_property
    def bundles(self) -> list[Bundle]:
        """For products in blocks."""
        return bundle_up(self._segments, self._device)

    @cached_property
    def queries(self) -> "Bounds":
        """Of each segment's tokens."""
        return Bounds([len(segment) for segment in self._segments], self._device)

    @cached_property
    def keys(self) -> "Bounds":
        """Of what each segment's last token sees, laid out by `key_places`."""
        return Bounds([s.position + len(s) for s in self._segments], self._device)

    @cached_property
    def key_places(self) -> Tensor | None:
        """Where in the row lies what each segment sees; None: keys as they are are right.

        (keys,), int64: of each segment what is before it, then its own tokens.
        """
        if not any(segment.before for segment in self._segments):
            return None
        spans = [span for s in self._segments for span in (*s.before, (s.begin, s.end))]
        return torch.cat([torch.arange(*span) for span in spans]).to(self._device)


class Bounds:
    """Sequences that lie end to end.

    Args:
        lengths: Of each, in order.
        device: Where they lie.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
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
    segments: Segments,
    scaling: float | None = None,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    is_causal: bool | None = None,
    **unknown: object,
) -> tuple[Tensor, None]:
    """Attend causally within each document, whose beginning others may share.

    Args:
        module: The attention layer that asks.
        query: (1, heads, tokens, head size).
        key: (1, key heads, tokens, head size); key heads divide heads.
        value: As key.
        attention_mask: Not looked at.
        segments: Of the row.
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
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    # each (tokens, heads, head size)
    states = query[0].transpose(0, 1), key[0].transpose(0, 1), value[0].transpose(0, 1)
    if _fits_varlen(*states):
        attended = attend_varlen(states, segments, scaling=scaling, window=sliding_window)
    else:
        bundles = segments.bundles
        attended = attend_in_blocks(*states, bundles, scaling=scaling, window=sliding_window)
    return attended[None], None


def attend_varlen(
    states: _States,
    segments: Segments,
    *,
    scaling: float,
    window: int | None,
    kernel: Callable[..., object] = varlen_attn,
) -> Tensor:
    """Attend with one kernel for all segments; each sees a copy of the keys before it.

    The kernel lets a sequence's last query see its last key, and the others so many fewer: what is
    before a segment is seen by all of it. Copies of keys cost little beside what they stand for.

    Args:
        states: Each (tokens, heads, head size).
        segments: Of the row.
        scaling: Of the scores.
        window: A token sees itself and the `window - 1` before it; None: all before it.
        kernel: With the interface of `torch.nn.attention.varlen.varlen_attn`.

    Returns:
        (tokens, heads, head size).
    """
    query, key, value = states
    if segments.key_places is not None:
        # Through float32, so that the gradients of the copies add up without rounding each sum.
        wide = torch.promote_types(key.dtype, torch.float32)
        key, value = (
            each.to(wide).index_select(0, segments.key_places).to(each.dtype)
            for each in (key, value)
        )
    attended = kernel(
        query,
        key,
        value,
        segments.queries.cumulative,
        segments.keys.cumulative,
        segments.queries.longest,
        segments.keys.longest,
        scale=scaling,
        window_size=(-1 if window is None else window - 1, 0),
        enable_gqa=query.shape[1] != key.shape[1],
    )
    assert isinstance(attended, Tensor)
    return attended


def _fits_varlen(query: Tensor, key: Tensor, value: Tensor) -> bool:
    return (
        query.is_cuda
        and query.dtype in _VARLEN_DTYPES
        and query.shape[-1] == key.shape[-1] == value.shape[-1] <= _MAX_VARLEN_HEAD
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
    )
