"""A training or validation file as tokens: all rows end to end, examples as spans of them."""

from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Self

import torch
from torch import Tensor

from jobs.rendering import Rendered


class Document(NamedTuple):
    """One row to run: attention stays within it."""

    token_ids: Tensor
    """(tokens,), int32."""
    trained: Tensor
    """(tokens,), bool: whether the token at this place is to be predicted; not shifted."""
    n_trained: int
    """How many are: at least 1."""

    def __len__(self) -> int:
        return len(self.token_ids)


class Batch(NamedTuple):
    """What one optimizer step learns from: whole examples."""

    documents: list[Document]
    n_tokens: int
    """Of the conversations, trained or not."""


@dataclass(frozen=True)
class Corpus:
    """The examples of a file that train something.

    Kept as flat tensors, 5 bytes a token: Python's lists would take 40.
    """

    _token_ids: Tensor
    _trained: Tensor
    _rows: list[tuple[int, int, int]]
    """Begin and end in the flat tensors, and the number of trained tokens."""
    _examples: list[tuple[int, int]]
    """Begin and end in `_rows`."""
    _tokens_by_example: list[int]
    n_left_out: int
    """Examples without a trained token: they are in no batch."""
    n_tokens: int
    """Of all examples, cut to the context length, those left out included."""

    @classmethod
    def of(cls, examples: Iterable[Rendered]) -> Self:
        """Collect rendered examples, in order."""
        token_ids, trained = array("i"), bytearray()
        rows: list[tuple[int, int, int]] = []
        ends = [0]
        tokens_by_example: list[int] = []
        n_examples = n_tokens = 0
        for example in examples:
            n_examples += 1
            n_tokens += example.n_tokens
            for row in example.rows:
                # The first token follows nothing: no model can be asked to predict it.
                mask = [False, *row.trained[1:]]
                if any(mask):
                    begin = len(token_ids)
                    token_ids.extend(row.token_ids)
                    trained.extend(mask)
                    rows.append((begin, len(token_ids), sum(mask)))
            if len(rows) > ends[-1]:
                ends.append(len(rows))
                tokens_by_example.append(example.n_tokens)
        return cls(
            _token_ids=torch.tensor(token_ids, dtype=torch.int32),
            _trained=torch.tensor(trained, dtype=torch.bool),
            _rows=rows,
            _examples=list(pairwise(ends)),
            _tokens_by_example=tokens_by_example,
            n_left_out=n_examples - len(tokens_by_example),
            n_tokens=n_tokens,
        )

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def n_trained(self) -> int:
        """Tokens that carry loss, of all examples."""
        return sum(n_trained for _, _, n_trained in self._rows)

    @property
    def n_run(self) -> int:
        """Tokens of all rows: what a pass over the file runs."""
        return len(self._token_ids)

    @property
    def longest(self) -> int:
        """Tokens of the longest row; 0 where there are no rows."""
        return max((end - begin for begin, end, _ in self._rows), default=0)

    @property
    def largest_token_id(self) -> int:
        """To be held against the model's vocabulary; -1 where there are no rows."""
        return int(self._token_ids.max()) if len(self._token_ids) else -1

    def batch(self, examples: Iterable[int]) -> Batch:
        """Return the examples at these places, together."""
        places = list(examples)
        return Batch(
            documents=[
                Document(self._token_ids[begin:end], self._trained[begin:end], n_trained)
                for place in places
                for begin, end, n_trained in self._rows[slice(*self._examples[place])]
            ],
            n_tokens=sum(self._tokens_by_example[place] for place in places),
        )

    def whole(self) -> Batch:
        """Return all examples."""
        return self.batch(range(len(self)))

    def sample(self, n_examples: int) -> Batch:
        """Return a few examples, evenly spread over the file, the same each time."""
        n = min(n_examples, len(self))
        return self.batch(place * len(self) // n for place in range(n))
