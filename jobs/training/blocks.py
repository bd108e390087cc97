"""Attention of a segmented row as plain matrix products, one autograd node for the whole row.

Segments that follow the same beginning and are about as long are padded into one batch; a long one
is walked in blocks of queries. The keys of a common beginning are multiplied with the queries of
all that follow it at once.

Scores and their softmax are float32, products with the probabilities in the dtype of the values,
as in flash attention. On a CPU with AVX512_BF16 such products run twice as fast in bfloat16, which
torch's own kernel there does not make use of, in the backward pass least of all.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from jobs.training.rows import Segment

_QUERIES: Final = 256
"""Of a block: large enough for fast products, small enough that its scores stay in the cache."""
_BATCHED_QUERIES: Final = 512
"""Of a batch of segments, padding included: a segment of more than one block is alone."""
_PADDING: Final = 16
"""Tokens by which any segment may be filled up; beyond that, a quarter of the longest."""
_KEPT_KEYS: Final = 1024
"""A block that sees more keys computes its probabilities anew in the backward pass: memory grows
with the tokens, not with their square."""


class Block(NamedTuple):
    """Queries of each segment of a bundle, and the keys that any of them sees."""

    queries: slice
    """Of the segment's tokens; the last of its own keys are theirs."""
    before: slice
    """Of what is before the segments."""
    own: slice
    """Of the segment's tokens."""
    too_far: int | None
    """The diagonal of (queries, keys) from which on leftwards keys are outside the window."""

    @property
    def n_keys(self) -> int:
        """Before and own."""
        before, own = self.before, self.own
        n_keys: int = before.stop - before.start + own.stop - own.start
        return n_keys


class Bundle:
    """Segments that run as one batch.

    Args:
        segments: All with the same before.
        row_length: Of the row. This place, one beyond its end, stands for padding.
        device: Where the row lies.
    """

    def __init__(
        self, segments: Sequence[Segment], *, row_length: int, device: torch.device
    ) -> None:
        self.size = len(segments)
        self.longest = max(len(segment) for segment in segments)
        places = torch.full((self.size, self.longest), row_length)
        for row, segment in enumerate(segments):
            places[row, : len(segment)] = torch.arange(segment.begin, segment.end)
        before = [torch.arange(*span) for span in segments[0].before]
        self.places = places.flatten().to(device)
        """(size x longest,), int64: in the row."""
        self.before = torch.cat([places.new_empty(0), *before]).to(device)
        """(tokens before,), int64: in the row."""
        n_queries = min(self.longest, _QUERIES)
        self._future = torch.full((n_queries, n_queries), -torch.inf, device=device).triu_(1)

    def blocks(self, window: int | None) -> Iterator[Block]:
        """Cut the queries.

        Args:
            window: A token sees itself and the `window - 1` before it; None: all before it.
        """
        n_before = len(self.before)
        for begin in range(0, self.longest, _QUERIES):
            end = min(begin + _QUERIES, self.longest)
            first_key = 0 if window is None else max(0, n_before + begin - window + 1)
            too_far = None if window is None else n_before + begin - window - first_key
            yield Block(
                queries=slice(begin, end),
                before=slice(min(first_key, n_before), n_before),
                own=slice(max(0, first_key - n_before), end),
                too_far=too_far,
            )

    def hide(self, scores: Tensor, block: Block) -> None:
        """Set to -inf what a query must not see.

        Args:
            scores: (key heads, segments, queries, heads a key head, keys), float32.
            block: Whose scores they are.
        """
        n_queries, n_keys = scores.shape[2], scores.shape[4]
        scores[..., n_keys - n_queries :] += self._future[:n_queries, None, :n_queries]
        if block.too_far is not None and block.too_far > -n_queries:
            left = scores.new_full((n_queries, n_keys), -torch.inf).tril_(block.too_far)
            scores += left[:, None]


def bundle_up(segments: Sequence[Segment], device: torch.device) -> list[Bundle]:
    """Put segments that follow the same tokens and are about as long together."""
    batches: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda s: (s.before, -len(s))):
        if not (batches and _fits(segment, batches[-1])):
            batches.append([])
        batches[-1].append(segment)
    row_length = max(segment.end for segment in segments)
    return [Bundle(batch, row_length=row_length, device=device) for batch in batches]


def _fits(segment: Segment, batch: list[Segment]) -> bool:
    longest = len(batch[0])
    return (
        segment.before == batch[0].before
        and longest - len(segment) <= max(_PADDING, longest // 4)
        and longest * (len(batch) + 1) <= _BATCHED_QUERIES
    )


def attend_in_blocks(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bundles: list[Bundle],
    *,
    scaling: float,
    window: int | None,
) -> Tensor:
    """Attend: each token to what is before its segment, and causally within it.

    Args:
        query: (tokens, heads, head size).
        key: (tokens, key heads, head size); key heads divide heads.
        value: (tokens, key heads, value size).
        bundles: Of all segments of the row.
        scaling: Of the scores.
        window: A token sees itself and the `window - 1` before it; None: all before it.

    Returns:
        (tokens, heads, value size).
    """
    attended: Tensor = _BlockAttention.apply(query, key, value, bundles, scaling, window)
    return attended


_Tensors = tuple[Tensor, Tensor, Tensor]
"""Query, key, value."""


class _States(NamedTuple):
    """Queries, keys and values of a bundle, or their gradients. Padding is 0."""

    query: Tensor
    """(key heads, segments, longest, heads a key head, head size)."""
    key: Tensor
    """(key heads, segments, longest, 1, head size)."""
    value: Tensor
    key_before: Tensor
    """(key heads, tokens before, head size)."""
    value_before: Tensor


class _BlockAttention(Function):  # type: ignore[misc] # torch's types are not followed
    @staticmethod
    def forward(  # noqa: PLR0917 - torch passes them so
        ctx: FunctionCtx,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bundles: list[Bundle],
        scaling: float,
        window: int | None,
    ) -> Tensor:
        padded = _with_padding(query), _with_padding(key), _with_padding(value)
        attended = query.new_empty(len(query) + 1, query.shape[1], value.shape[2])
        kept: list[Tensor] = []
        for bundle in bundles:
            states = _gather(padded, bundle)
            out = states.query.new_empty(*states.query.shape[:-1], value.shape[2])
            for block in bundle.blocks(window):
                probabilities = _probabilities(states, bundle, block, scaling)
                _weigh(states, block, probabilities, out)
                if any(ctx.needs_input_grad) and block.n_keys <= _KEPT_KEYS:
                    kept.append(probabilities)
            attended.index_copy_(0, bundle.places, _by_token(out))
        ctx.save_for_backward(*padded, *kept)
        ctx.bundles, ctx.scaling, ctx.window = bundles, scaling, window
        return attended[:-1]

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, grad_attended: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # A checkpoint lets them be asked for once.
        padded: _Tensors = saved[:3]
        kept: Iterator[Tensor] = iter(saved[3:])
        query, key, value = padded
        # Keys are seen from many blocks: rounding each sum would add up.
        grads = torch.empty_like(query), _precise_zeros_like(key), _precise_zeros_like(value)
        grad_padded = _with_padding(grad_attended)
        for bundle in ctx.bundles:
            states = _gather(padded, bundle)
            grad = _States(
                torch.empty_like(states.query),
                *(_precise_zeros_like(each) for each in states[1:]),
            )
            grad_out = _by_head(grad_padded, bundle, n_key_heads=len(states.key))
            for block in bundle.blocks(ctx.window):
                is_kept = block.n_keys <= _KEPT_KEYS
                probabilities = (
                    next(kept) if is_kept else _probabilities(states, bundle, block, ctx.scaling)
                )
                _differentiate(states, block, probabilities, grad_out, grad)
            _scatter(grad, bundle, grads)
        dtype = grad_attended.dtype
        return (
            grads[0][:-1].mul_(ctx.scaling),
            grads[1][:-1].mul_(ctx.scaling).to(dtype),
            grads[2][:-1].to(dtype),
            None,
            None,
            None,
        )


def _precise(states: Tensor) -> torch.dtype:
    """Return float32, or what is finer."""
    return torch.promote_types(states.dtype, torch.float32)


def _precise_zeros_like(states: Tensor) -> Tensor:
    return torch.zeros_like(states, dtype=_precise(states))


def _with_padding(states: Tensor) -> Tensor:
    return torch.cat([states, states.new_zeros(1, *states.shape[1:])])


def _gather(padded: _Tensors, bundle: Bundle) -> _States:
    query, key, value = padded
    n_key_heads = key.shape[1]
    return _States(
        _by_head(query, bundle, n_key_heads=n_key_heads),
        _by_head(key, bundle, n_key_heads=n_key_heads),
        _by_head(value, bundle, n_key_heads=n_key_heads),
        key.index_select(0, bundle.before).transpose(0, 1),
        value.index_select(0, bundle.before).transpose(0, 1),
    )


def _by_head(padded: Tensor, bundle: Bundle, *, n_key_heads: int) -> Tensor:
    """Return (key heads, segments, longest, heads a key head, head size), contiguous."""
    taken = padded.index_select(0, bundle.places)
    shape = bundle.size, bundle.longest, n_key_heads, -1, padded.shape[-1]
    return taken.view(shape).permute(2, 0, 1, 3, 4).contiguous()


def _by_token(states: Tensor) -> Tensor:
    """Return (segments x longest, heads, head size): what `_by_head` came from."""
    return states.permute(1, 2, 0, 3, 4).flatten(2, 3).flatten(0, 1)


def _parts(products: Tensor, n_before: int) -> tuple[Tensor, Tensor]:
    """Split (key heads, segments, rows, keys) for the two batched products that it takes part in.

    Returns:
        (key heads, segments x rows, keys before) and (key heads x segments, rows, own keys), views.
    """
    return products.flatten(1, 2)[..., :n_before], products.flatten(0, 1)[..., n_before:]


def _rows(states: Tensor, queries: slice) -> Tensor:
    """Return (key heads, segments, queries x heads a key head, head size), a view."""
    taken = states[:, :, queries]
    return taken.view(*taken.shape[:2], -1, taken.shape[-1])


def _probabilities(states: _States, bundle: Bundle, block: Block, scaling: float) -> Tensor:
    """Return (key heads, segments, queries x heads a key head, keys), in the values' dtype."""
    precise = _precise(states.query)
    rows = _rows(states.query, block.queries).to(precise)
    key_before = states.key_before[:, block.before].to(precise)
    key = _rows(states.key, block.own).to(precise)
    scores = rows.new_empty(*rows.shape[:-1], block.n_keys)
    before, own = _parts(scores, key_before.shape[1])
    if key_before.shape[1]:
        before.baddbmm_(rows.flatten(1, 2), key_before.mT, beta=0, alpha=scaling)
    own.baddbmm_(rows.flatten(0, 1), key.flatten(0, 1).mT, beta=0, alpha=scaling)
    per_key_head = states.query.shape[3]
    bundle.hide(scores.unflatten(2, (-1, per_key_head)), block)
    return scores.softmax(-1).to(states.value.dtype)


def _weigh(states: _States, block: Block, probabilities: Tensor, out: Tensor) -> None:
    """Write the block's part of `out`: values, weighed."""
    rows = _rows(out, block.queries)
    value_before = states.value_before[:, block.before]
    before, own = _parts(probabilities, value_before.shape[1])
    rows.flatten(0, 1).baddbmm_(own, _rows(states.value, block.own).flatten(0, 1), beta=0)
    if value_before.shape[1]:
        rows.flatten(1, 2).baddbmm_(before, value_before)


def _differentiate(
    states: _States, block: Block, probabilities: Tensor, grad_out: Tensor, grad: _States
) -> None:
    """Write the block's part of the queries' gradient, and add to the others; all unscaled."""
    d_rows, rows = _rows(grad_out, block.queries), _rows(states.query, block.queries)
    key, value = (_rows(each, block.own).flatten(0, 1) for each in (states.key, states.value))
    key_before, value_before = (
        each[:, block.before] for each in (states.key_before, states.value_before)
    )
    n_before = key_before.shape[1]
    d_probabilities = torch.empty_like(probabilities)
    before, own = _parts(d_probabilities, n_before)
    own.baddbmm_(d_rows.flatten(0, 1), value.mT, beta=0)
    if n_before:
        before.baddbmm_(d_rows.flatten(1, 2), value_before.mT, beta=0)
    d_scores = torch._softmax_backward_data(  # noqa: SLF001 - has no public name
        d_probabilities, probabilities, -1, probabilities.dtype
    )
    before, own = _parts(d_scores, n_before)
    weights_before, weights = _parts(probabilities, n_before)
    d_query = _rows(grad.query, block.queries)
    d_query.flatten(0, 1).baddbmm_(own, key, beta=0)
    _rows(grad.key, block.own).flatten(0, 1).add_(own.mT @ rows.flatten(0, 1))
    _rows(grad.value, block.own).flatten(0, 1).add_(weights.mT @ d_rows.flatten(0, 1))
    if n_before:
        d_query.flatten(1, 2).baddbmm_(before, key_before)
        grad.key_before[:, block.before] += before.mT @ rows.flatten(1, 2)
        grad.value_before[:, block.before] += weights_before.mT @ d_rows.flatten(1, 2)


def _scatter(grad: _States, bundle: Bundle, grads: _Tensors) -> None:
    """Add a bundle's gradients at the places of its tokens."""
    query, key, value = grads
    query.index_copy_(0, bundle.places, _by_token(grad.query))
    key.index_add_(0, bundle.places, _by_token(grad.key))
    value.index_add_(0, bundle.places, _by_token(grad.value))
    if len(bundle.before):
        key.index_add_(0, bundle.before, grad.key_before.transpose(0, 1))
        value.index_add_(0, bundle.before, grad.value_before.transpose(0, 1))
