"""Documents end to end in one row; what several of them begin with lies there once.

The row is a forest: a segment is a run of tokens that all its documents share, and what they begin
with before it lies in the segments above. A token depends on nothing but the tokens before it in
its own document, so each token computed once stands for all the documents that share it, and the
gradients of all of them add up in it. Found by token ids alone; which tokens train does not matter,
but for the last: from there on a document is not run, for nothing asks what follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final, Self

import torch
from torch import Tensor

from jobs.training.corpus import Document

LEAST_SHARED: Final = 16
"""Tokens. Fewer are cheaper computed again than attended to apart: each segment costs a few small
products a layer. On a CPU two documents that share 32 took 6 % longer than apart with 2.8 million
parameters, where that weighs most; eight took a quarter less, and a third less with 135 million."""
_LENGTHS: Final = 64
"""That a row may at least have before the next power of two."""
_NUMBERS_OF_PLACES: Final = 16
"""Of a row, at most."""
_Path = tuple[tuple[int, int], ...]
"""Begin and end, in a row, of what a document consists of; in order."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Tokens of a row that see each other causally, and all of what is before them."""

    begin: int
    end: int
    before: _Path = ()
    """What its documents begin with."""

    def __len__(self) -> int:
        return self.end - self.begin

    @property
    def position(self) -> int:
        """Of its first token in each of its documents."""
        return sum(end - begin for begin, end in self.before)


@dataclass(frozen=True)
class Row:
    """What the model runs."""

    token_ids: Tensor
    """(tokens,), int32."""
    positions: Tensor
    """(tokens,), int64: of each token in its documents."""
    predicting: Tensor
    """(trained tokens,), int64: document by document, where in the row each is predicted.

    A place stands there once for every document that is asked there.
    """
    segments: list[Segment]
    """In order, without a gap."""

    @classmethod
    def of(cls, documents: Sequence[Document], *, least_shared: int | None = LEAST_SHARED) -> Self:
        """Lay documents out.

        Args:
            documents: At least one.
            least_shared: Tokens that must be saved a document, else each gets its own; None:
                nothing is shared.
        """
        # A token is predicted where the one before it stands.
        asked = [document.trained.nonzero().flatten() - 1 for document in documents]
        run = [
            document.token_ids[: int(places[-1]) + 1]
            for document, places in zip(documents, asked, strict=True)
        ]
        if least_shared is None:
            bounds = _end_to_end(run)
            segments = [Segment(*each) for each in bounds]
            paths: list[_Path] = [(each,) for each in bounds]
        else:
            segments, paths = _grow_forest(run, least_shared)
        token_ids = torch.empty(segments[-1].end, dtype=torch.int32)
        predicting = []
        for ids, asked_places, path in zip(run, asked, paths, strict=True):
            places = torch.cat([torch.arange(*span) for span in path])
            token_ids[places] = ids
            predicting.append(places[asked_places])
        positions = [torch.arange(s.position, s.position + len(s)) for s in segments]
        return cls(token_ids, torch.cat(positions), torch.cat(predicting), segments)

    def __len__(self) -> int:
        return len(self.token_ids)

    def in_few_lengths(self) -> Self:
        """Return it with up to a sixty-fourth more tokens at its end, which nothing asks and nobody sees.

        For each length that it has not seen, oneDNN makes its programs anew: some forty, which take a
        millisecond and as good as a megabyte each.
        """
        step = 1 << max(0, (len(self) // _LENGTHS).bit_length() - 1)
        n_more = -len(self) % step
        *others, last = self.segments
        return replace(
            self,
            token_ids=torch.cat([self.token_ids, self.token_ids[-1:].expand(n_more)]),
            positions=torch.cat([self.positions, self.positions[-1:].expand(n_more)]),
            segments=[*others, replace(last, end=last.end + n_more)],
        )


def filled_up(places: Tensor, *, of: int) -> Tensor:
    """Return places of a row and some more of it, in order: as few different numbers of them as may be.

    Args:
        places: (places,), int64, each once.
        of: Tokens of the row.
    """
    is_other = torch.ones(of, dtype=torch.bool).index_fill_(0, places, value=False)
    others = is_other.nonzero().flatten()
    step = 1 << (of // _NUMBERS_OF_PLACES).bit_length()
    return torch.cat([places, others[: -len(places) % step]]).sort().values


def n_shared(one: Tensor, other: Tensor) -> int:
    """Return how many token ids both begin with."""
    both = min(len(one), len(other))
    differing = (one[:both] != other[:both]).nonzero()
    return int(differing[0]) if len(differing) else both


def n_saved(one: Document, following: Document) -> int:
    """Return how many tokens of a document need not run beside another one."""
    alike = n_shared(one.token_ids, following.token_ids)
    return alike if alike >= LEAST_SHARED else 0


def sharers_together(documents: Sequence[Document]) -> list[Document]:
    """Order documents so that neighbours begin alike; those that begin alike, longest first."""
    in_order = sorted(documents, key=lambda document: _as_bytes(document.token_ids))
    token_ids = [document.token_ids for document in in_order]
    shared = [0, *(n_shared(*pair) for pair in pairwise(token_ids)), 0]
    beginnings = [
        _as_bytes(document.token_ids[:n_tokens])
        if (n_tokens := max(beside)) >= LEAST_SHARED
        else b""
        for document, beside in zip(in_order, pairwise(shared), strict=True)
    ]
    order = sorted(range(len(in_order)), key=lambda i: (beginnings[i], -len(in_order[i])))
    return [in_order[i] for i in order]


def _end_to_end(documents: Sequence[Tensor]) -> list[tuple[int, int]]:
    ends = [0]
    for document in documents:
        ends.append(ends[-1] + len(document))
    return list(pairwise(ends))


def _grow_forest(
    documents: Sequence[Tensor], least_shared: int
) -> tuple[list[Segment], list[_Path]]:
    """Return the segments, and for each document's token ids their spans of the row.

    In the order of their bytes, documents that begin alike are neighbours, and any run of them
    shares what its least alike neighbours share.
    """
    order = sorted(range(len(documents)), key=lambda i: _as_bytes(documents[i]))
    in_order = [documents[i] for i in order]
    shared = [0, *(n_shared(*pair) for pair in pairwise(in_order))]
    segments: list[Segment] = []
    paths: list[_Path] = [()] * len(documents)
    # A stack, not recursion: a thousand documents may each begin with the one before.
    to_do: list[tuple[int, int, int, _Path]] = [(0, len(documents), 0, ())]
    while to_do:
        first, last, depth, path = to_do.pop()
        is_one = last - first == 1
        alike = len(in_order[first]) if is_one else min(shared[first + 1 : last])
        if alike - depth >= (1 if is_one else least_shared):
            begin = segments[-1].end if segments else 0
            segments.append(Segment(begin, begin + alike - depth, before=path))
            path, depth = (*path, (begin, begin + alike - depth)), alike
        if is_one:
            paths[order[first]] = path
            continue
        cuts = [i for i in range(first + 1, last) if shared[i] == alike]
        branches = list(pairwise([first, *cuts, last]))
        to_do += [(*branch, depth, path) for branch in reversed(branches)]
    return segments, paths


def _as_bytes(token_ids: Tensor) -> bytes:
    # Not the order of numbers, but one in which a common beginning of tokens is one of bytes.
    as_bytes: bytes = token_ids.numpy().tobytes()
    return as_bytes
