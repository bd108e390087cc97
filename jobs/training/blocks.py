"""Attention of a segmented row as plain matrix products, one autograd node for the whole row.

Segments that are about as long, and see about as much before them, are padded into one batch, in which
each has the keys before it to itself; a long one is alone and is walked in blocks of queries.

Scores and their softmax are float32, products with the probabilities in the dtype of the values,
as in flash attention. On a CPU with AVX512_BF16 such products run twice as fast in bfloat16, which
torch's own kernel there does not make use of, in the backward pass least of all.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

from jobs.training.rows import Segment

_QUERIES: Final = 128
"""Of a block: enough for fast products; fewer leave less above the diagonal, computed for nothing."""
_BATCHED_QUERIES: Final = 512
"""Of a batch of segments, padding included: a segment of more than one block is alone."""
_PADDING: Final = 32
"""Tokens by which queries or keys of any segment may be filled up; beyond that, a quarter of the longest."""
_STEP: Final = 32
"""Tokens, of which queries and keys have a multiple: for each shape that it has not seen, oneDNN makes
a program, which takes a millisecond and as good as a megabyte; that is as long as such a product."""
_KEPT_KEYS: Final = 1024
"""A block that sees more keys computes its probabilities anew in the backward pass: memory grows
with the tokens, not with their square."""


class Block(NamedTuple):
    """Queries of each segment of a bundle, and the keys that any of them sees."""

    queries: slice
    """Of the segment's tokens; the last of the keys are theirs."""
    keys: slice
    """Of what is before the segment and its own tokens."""
    too_far: int | None
    """The diagonal of (queries, keys) from which on leftwards keys are outside the window."""

    @property
    def n_queries(self) -> int:
        """Of a segment."""
        n: int = self.queries.stop - self.queries.start
        return n

    @property
    def n_keys(self) -> int:
        """Of a segment."""
        n: int = self.keys.stop - self.keys.start
        return n


class Bundle:
    """Segments that run as one batch.

    Their own tokens begin at the same key, with less than `n_before` before them where others have more.

    Args:
        segments: Longest first.
        row_length: Of the row. This place, one beyond its end, stands for padding.
        device: Where the row lies.
    """

    def __init__(
        self, segments: Sequence[Segment], *, row_length: int, device: torch.device
    ) -> None:
        self.size = len(segments)
        self.longest = _rounded_up(max(len(segment) for segment in segments))
        self.n_before = _rounded_up(max(segment.position for segment in segments))
        keys = torch.full((self.size, self.n_before + self.longest), row_length)
        for row, segment in zip(keys, segments, strict=True):
            own = [(segment.begin, segment.end)]
            seen = torch.cat([torch.arange(*span) for span in (*segment.before, *own)])
            first = self.n_before - segment.position
            row[first : first + len(seen)] = seen
        self.queries = keys[:, self.n_before :].flatten().to(device)
        """(size x longest,), int64: in the row."""
        self.keys = keys.flatten().to(device)
        """(size x (before + longest),), int64: in the row."""
        self._absent: Tensor | None = None
        if any(segment.position < self.n_before for segment in segments):
            is_absent = (keys[:, : self.n_before] == row_length).to(device)
            self._absent = torch.zeros(is_absent.shape, device=device)
            self._absent = self._absent.masked_fill_(is_absent, -torch.inf)[:, None, None]
        n_queries = min(self.longest, _QUERIES)
        self._future = torch.full((n_queries, n_queries), -torch.inf, device=device).triu_(1)

    def blocks(self, window: int | None) -> Iterator[Block]:
        """Cut the queries.

        Args:
            window: A token sees itself and the `window - 1` before it; None: all before it.
        """
        for begin in range(0, self.longest, _QUERIES):
            end = min(begin + _QUERIES, self.longest)
            first_seen = 0 if window is None else max(0, self.n_before + begin - window + 1)
            yield Block(
                queries=slice(begin, end),
                keys=slice(first_seen, self.n_before + end),
                too_far=None if window is None else self.n_before + begin - window - first_seen,
            )

    def hide(self, scores: Tensor, block: Block) -> None:
        """Set to -inf what a query must not see.

        Args:
            scores: (key heads x segments, queries x heads a key head, keys), float32.
            block: Whose scores they are.
        """
        n_queries, n_keys = block.n_queries, block.n_keys
        scores = scores.view(-1, self.size, n_queries, scores.shape[1] // n_queries, n_keys)
        scores[..., n_keys - n_queries :] += self._future[:n_queries, None, :n_queries]
        if self._absent is not None and (n_before := self.n_before - block.keys.start) > 0:
            scores[..., :n_before] += self._absent[..., block.keys.start :]
        if block.too_far is not None and block.too_far > -n_queries:
            left = scores.new_full((n_queries, n_keys), -torch.inf).tril_(block.too_far)
            scores += left[:, None]


@dataclass
class _Batch:
    """Segments that go together, the longest first."""

    segments: list[Segment] = field(default_factory=list)
    n_before: int = 0
    fewest_keys: int = 0

    def with_(self, segment: Segment) -> Self | None:
        """Return them with another one that is no longer; None: too much would be padding."""
        longest = len(self.segments[0])
        n_before = max(self.n_before, segment.position)
        fewest = min(self.fewest_keys, segment.position + len(segment))
        if (
            longest * (len(self.segments) + 1) > _BATCHED_QUERIES
            or longest - len(segment) > _allowed_padding(longest)
            or n_before + longest - fewest > _allowed_padding(n_before + longest)
        ):
            return None
        return type(self)([*self.segments, segment], n_before, fewest)


def bundle_up(segments: Sequence[Segment], device: torch.device) -> list[Bundle]:
    """Put segments together that are about as long and see about as many tokens."""
    batches: list[_Batch] = []
    for segment in sorted(segments, key=len, reverse=True):
        for place, batch in enumerate(batches):
            if (grown := batch.with_(segment)) is not None:
                batches[place] = grown
                break
        else:
            batches.append(_Batch([segment], segment.position, segment.position + len(segment)))
    row_length = max(segment.end for segment in segments)
    return [Bundle(batch.segments, row_length=row_length, device=device) for batch in batches]


def _allowed_padding(n_tokens: int) -> int:
    return max(_PADDING, n_tokens // 4)


def _rounded_up(n_tokens: int) -> int:
    return -(-n_tokens // _STEP) * _STEP


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


class _States(NamedTuple):
    """Queries, keys and values, or their gradients."""

    query: Tensor
    """Of a row: (key heads, tokens + 1, heads a key head x head size); the last token is padding, 0.
    Of a bundle: (key heads x segments, longest x heads a key head, head size)."""
    key: Tensor
    """Of a row: (key heads, tokens + 1, head size). Of a bundle: (key heads x segments, keys, head size)."""
    value: Tensor


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
        n_heads, n_key_heads = query.shape[1], key.shape[1]
        row = _States(*(_by_key_head(each, n_key_heads) for each in (query, key, value)))
        width = n_heads // n_key_heads * value.shape[2]
        attended = row.query.new_empty(n_key_heads, len(query) + 1, width)
        kept: list[Tensor] = []
        for bundle in bundles:
            states = _take(row, bundle)
            out = states.query.new_empty(*states.query.shape[:2], value.shape[2])
            for block in bundle.blocks(window):
                probabilities = _probabilities(states, bundle, block, scaling)
                rows = _rows(out, bundle, block)
                rows.baddbmm_(probabilities, states.value[:, block.keys], beta=0)
                if any(ctx.needs_input_grad) and block.n_keys <= _KEPT_KEYS:
                    kept.append(probabilities)
            _put(out, attended, bundle)
        ctx.save_for_backward(*row, *kept)
        ctx.bundles, ctx.scaling, ctx.window, ctx.n_heads = bundles, scaling, window, n_heads
        return _by_token(attended, n_heads)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: FunctionCtx, grad_attended: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # A checkpoint lets them be asked for once.
        row = _States(*saved[:3])
        kept: Iterator[Tensor] = iter(saved[3:])
        n_key_heads = len(row.key)
        # Keys are seen from many blocks: rounding each sum would add up.
        grad_row = _States(torch.empty_like(row.query), *map(_precise_zeros_like, row[1:]))
        grad_out_row = _by_key_head(grad_attended, n_key_heads)
        for bundle in ctx.bundles:
            states = _take(row, bundle)
            grad_out = _of_queries(grad_out_row, bundle, size=grad_attended.shape[2])
            grad = _States(torch.empty_like(states.query), *map(_precise_zeros_like, states[1:]))
            for block in bundle.blocks(ctx.window):
                is_kept = block.n_keys <= _KEPT_KEYS
                probabilities = (
                    next(kept) if is_kept else _probabilities(states, bundle, block, ctx.scaling)
                )
                d_rows = _rows(grad_out, bundle, block)
                d_scores = _d_scores(d_rows, states.value[:, block.keys], probabilities)
                rows = _rows(states.query, bundle, block)
                _rows(grad.query, bundle, block).baddbmm_(
                    d_scores, states.key[:, block.keys], beta=0, alpha=ctx.scaling
                )
                grad.key[:, block.keys].add_(torch.bmm(d_scores.mT, rows), alpha=ctx.scaling)
                grad.value[:, block.keys].add_(torch.bmm(probabilities.mT, d_rows))
            _put(grad.query, grad_row.query, bundle)
            _add(grad.key, grad_row.key, bundle)
            _add(grad.value, grad_row.value, bundle)
        dtype = grad_attended.dtype
        return (
            _by_token(grad_row.query, ctx.n_heads),
            _by_token(grad_row.key, n_key_heads, dtype),
            _by_token(grad_row.value, n_key_heads, dtype),
            None,
            None,
            None,
        )


def _precise(states: Tensor) -> torch.dtype:
    """Return float32, or what is finer."""
    return torch.promote_types(states.dtype, torch.float32)


def _precise_zeros_like(states: Tensor) -> Tensor:
    return torch.zeros_like(states, dtype=_precise(states))


def _by_key_head(states: Tensor, n_key_heads: int) -> Tensor:
    """Lay (tokens, heads, size) out as a row of `_States`."""
    by_token = states.reshape(len(states), n_key_heads, -1)
    padded = states.new_empty(n_key_heads, len(states) + 1, by_token.shape[2])
    padded[:, :-1] = by_token.transpose(0, 1)
    padded[:, -1] = 0
    return padded


def _by_token(padded: Tensor, n_heads: int, dtype: torch.dtype | None = None) -> Tensor:
    """Return (tokens, heads, size): what `_by_key_head` came from."""
    by_token = padded[:, :-1].transpose(0, 1)
    by_token = by_token.to(dtype or padded.dtype, memory_format=torch.contiguous_format)
    return by_token.reshape(len(by_token), n_heads, -1)


def _take(row: _States, bundle: Bundle) -> _States:
    size = row.key.shape[2]
    return _States(
        _of_queries(row.query, bundle, size=size),
        _of_keys(row.key, bundle),
        _of_keys(row.value, bundle),
    )


def _of_queries(row: Tensor, bundle: Bundle, *, size: int) -> Tensor:
    """Return (key heads x segments, longest x heads a key head, size) of (key heads, tokens + 1, …)."""
    return row.index_select(1, bundle.queries).view(len(row) * bundle.size, -1, size)


def _of_keys(row: Tensor, bundle: Bundle) -> Tensor:
    """Return (key heads x segments, keys, size) of (key heads, tokens + 1, size)."""
    return row.index_select(1, bundle.keys).view(len(row) * bundle.size, -1, row.shape[2])


def _put(part: Tensor, row: Tensor, bundle: Bundle) -> None:
    """Write what `_of_queries` would return into the row."""
    row.index_copy_(1, bundle.queries, part.view(len(row), -1, row.shape[2]))


def _add(part: Tensor, row: Tensor, bundle: Bundle) -> None:
    """Add to the row what is as `_of_keys` would return it: keys may be seen from several segments."""
    row.index_add_(1, bundle.keys, part.view(len(row), -1, row.shape[2]))


def _rows(states: Tensor, bundle: Bundle, block: Block) -> Tensor:
    """Return (key heads x segments, queries x heads a key head, size), a view."""
    per_token = states.shape[1] // bundle.longest
    return states[:, block.queries.start * per_token : block.queries.stop * per_token]


def _probabilities(states: _States, bundle: Bundle, block: Block, scaling: float) -> Tensor:
    """Return (key heads x segments, queries x heads a key head, keys), in the values' dtype."""
    precise = _precise(states.query)
    rows = _rows(states.query, bundle, block).to(precise)
    key = states.key[:, block.keys].to(precise)
    scores = rows.new_empty(*rows.shape[:2], block.n_keys)
    scores.baddbmm_(rows, key.mT, beta=0, alpha=scaling)
    bundle.hide(scores, block)
    return scores.softmax(-1).to(states.value.dtype)


def _d_scores(d_rows: Tensor, value: Tensor, probabilities: Tensor) -> Tensor:
    """Return the gradient of the scores: as the probabilities."""
    return torch._softmax_backward_data(  # noqa: SLF001 - has no public name
        torch.bmm(d_rows, value.mT), probabilities, -1, probabilities.dtype
    )
