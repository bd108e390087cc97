"""Attention in segments, against attention with a mask over the whole row."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jobs.training.attention import Segments, attend_varlen
from jobs.training.blocks import attend_in_blocks
from jobs.training.corpus import Document
from jobs.training.rows import Row, Segment
from tests.training import networks
from tests.training.test_rows import documents, least_shared

SCALING = 0.3

Attend = Callable[[tuple[Tensor, ...], Row, int | None], Tensor]


def in_blocks(states: tuple[Tensor, ...], row: Row, window: int | None) -> Tensor:
    bundles = Segments(row.segments, torch.device("cpu")).bundles
    return attend_in_blocks(*states, bundles, scaling=SCALING, window=window)


def in_one_kernel(states: tuple[Tensor, ...], row: Row, window: int | None) -> Tensor:
    segments = Segments(row.segments, torch.device("cpu"))
    return attend_varlen(states, segments, scaling=SCALING, window=window, kernel=plain_kernel)


def with_a_mask(states: tuple[Tensor, ...], row: Row, window: int | None) -> Tensor:
    """Attend in the plainest way: every pair of tokens, those unseen masked."""
    is_seen = torch.zeros(len(row), len(row), dtype=torch.bool)
    for segment in row.segments:
        for span in segment.before:
            is_seen[segment.begin : segment.end, slice(*span)] = True
        own = slice(segment.begin, segment.end)
        is_seen[own, own] = torch.ones(len(segment), len(segment)).tril().bool()
    if window is not None:
        is_seen &= row.positions[:, None] - row.positions < window
    return masked(*states, is_seen)


def masked(query: Tensor, key: Tensor, value: Tensor, is_seen: Tensor) -> Tensor:
    per_key_head = query.shape[1] // key.shape[1]
    key, value = (each.repeat_interleave(per_key_head, 1) for each in (key, value))
    scores = torch.einsum("qhd,khd->hqk", query, key) * SCALING
    weights = scores.masked_fill(~is_seen, -torch.inf).softmax(-1)
    return torch.einsum("hqk,khd->qhd", weights, value)


def plain_kernel(  # noqa: PLR0917 - as the one it stands for
    query: Tensor,
    key: Tensor,
    value: Tensor,
    query_bounds: Tensor,
    key_bounds: Tensor,
    longest_query: int,
    longest_key: int,
    *,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> Tensor:
    """Do what `varlen_attn` documents: a sequence's last query sees up to its last key."""
    assert (scale, enable_gqa, window_size[1]) == (SCALING, True, 0)
    window = len(key) if window_size[0] < 0 else window_size[0] + 1
    attended = []
    for (begin, end), keys in zip(
        query_bounds.unfold(0, 2, 1).tolist(), key_bounds.unfold(0, 2, 1).tolist(), strict=True
    ):
        n_queries, n_keys = end - begin, keys[1] - keys[0]
        assert n_queries <= longest_query
        assert n_keys <= longest_key
        behind = torch.arange(n_queries)[:, None] + n_keys - n_queries - torch.arange(n_keys)
        is_seen = (behind >= 0) & (behind < window)
        attended.append(masked(query[begin:end], key[slice(*keys)], value[slice(*keys)], is_seen))
    return torch.cat(attended)


def result(
    attend: Attend,
    row: Row,
    window: int | None,
    *,
    dtype: torch.dtype = torch.float64,
    n_key_heads: int = 2,
) -> list[Tensor]:
    """Return what is attended, and the gradients of queries, keys and values."""
    generator = torch.Generator().manual_seed(1)
    heads = 2 * n_key_heads, n_key_heads, n_key_heads, 2 * n_key_heads
    *states, weights = (torch.randn(len(row), n, 8, generator=generator) for n in heads)
    leaves = tuple((2 * each).to(dtype).requires_grad_() for each in states)
    attended = attend(leaves, row, window)
    attended.backward(weights.to(dtype))
    return [attended.detach(), *(leaf.grad for leaf in leaves)]


def assert_close(actual: list[Tensor], expected: list[Tensor], *, within: float) -> None:
    for one, other in zip(actual, expected, strict=True):
        assert (one.double() - other).norm() <= within * other.norm()


@settings(deadline=None, max_examples=50)
@given(documents(), least_shared, st.sampled_from([None, 1, 3, 20]))
def test_any_row(drawn: list[Document], least: int | None, window: int | None) -> None:
    """Whatever begins like what, each token sees what is before it in its documents."""
    row = Row.of(drawn, least_shared=least)

    expected = result(with_a_mask, row, window)

    assert_close(result(in_blocks, row, window, dtype=torch.float32), expected, within=2e-6)
    assert_close(result(in_one_kernel, row, window), expected, within=1e-12)


LONG = [(1050,), (300, 290), (300, 20, 270), (300, 20, 9), (300, 20, 11), (33,)]
"""Longer than a block of queries, and than what is kept for the backward pass."""


@pytest.mark.parametrize("window", [None, 200])
def test_long_segments(window: int | None) -> None:
    """Long documents are right too; in bfloat16 as far off as rounding takes them."""
    row = Row.of(networks.documents_of(*LONG))

    expected = result(with_a_mask, row, window, n_key_heads=1)
    exact = result(in_blocks, row, window, dtype=torch.float32, n_key_heads=1)
    rounded = result(in_blocks, row, window, dtype=torch.bfloat16, n_key_heads=1)

    assert_close(exact, expected, within=2e-6)
    assert_close(rounded, expected, within=0.02)


def test_memory_grows_with_the_tokens() -> None:
    """What is kept for the backward pass grows with a document, not with its square."""
    assert kept_for_backward(8000) < 2.2 * kept_for_backward(4000)


def kept_for_backward(n_tokens: int) -> int:
    """Return how many numbers attention keeps of one document."""
    row = [Segment(0, n_tokens)]
    bundles = Segments(row, torch.device("cpu")).bundles
    states = [torch.zeros(n_tokens, n, 2, requires_grad=True) for n in (2, 1, 1)]
    kept = 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        attend_in_blocks(*states, bundles, scaling=SCALING, window=None)
    return kept
