"""How many tokens run at once: halved when memory runs out, never the batch that learns."""

import ctypes
import gc
import logging
import sys
from collections.abc import Callable
from typing import Final, TypeVar

import torch

from jobs.training.corpus import Document
from jobs.training.failures import (
    is_lasting,
    is_out_of_memory,
    out_of_memory,
    out_of_memory_together,
)
from jobs.training.process import Spoiled

logger = logging.getLogger(__name__)

_M_MMAP_THRESHOLD: Final = -3
"""Of `mallopt(3)`, `malloc.h`."""
_MAPPED_ALONE: Final = 2**17
"""Bytes; glibc's own beginning, from which it goes up unless it is set."""

T = TypeVar("T")
Pack = Callable[[list[Document], int], list[list[Document]]]
"""Documents and a number of tokens to groups that run at most so many."""


class TokenBudget:
    """How many tokens a forward pass may hold; what memory has taught.

    Args:
        tokens: To begin with.
        on_halved: Told what is tried next, in tokens, each time that memory ran out.
        may_retry: Whether work that ran out of memory may be done again here, without other processes; if
            not, all of them must begin anew with what was told.
        save: Asked when one document alone does not fit; returns whether it is worth another try.
    """

    def __init__(
        self,
        tokens: int,
        *,
        on_halved: Callable[[int], None] = lambda _: None,
        may_retry: bool = True,
        save: Callable[[int], bool] = lambda _: False,
    ) -> None:
        self.tokens = tokens
        self._on_halved = on_halved
        self._may_retry = may_retry
        self._save = save

    def run(
        self,
        documents: list[Document],
        work: Callable[[list[list[Document]]], T],
        *,
        pack: Pack,
    ) -> T:
        """Call `work` with the documents in micro-batches; again, with smaller ones, if need be.

        Args:
            documents: At least one.
            work: Begins from nothing each time it is called.
            pack: Makes micro-batches of at most so many tokens; smaller ones of fewer, and of one
                document each of none.

        Raises:
            JobFailure: `out_of_memory`: one document alone does not fit.
            Spoiled: Another process must try it; what it is to try was told.
        """
        while True:
            micro_batches = pack(documents, self.tokens)
            try:
                return work(micro_batches)
            except (RuntimeError, MemoryError) as exc:
                if not is_out_of_memory(exc):
                    raise
                is_spoiled = is_lasting(exc)
            # Only out here, where the exception no longer holds the tensors of its frames.
            self._halve(micro_batches)
            if is_spoiled or not self._may_retry:
                raise Spoiled

    def _halve(self, micro_batches: list[list[Document]]) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        _give_back()
        tried = max(sum(map(len, micro_batch)) for micro_batch in micro_batches)
        if all(len(micro_batch) == 1 for micro_batch in micro_batches):
            if self._save(tried):
                return
            too_large = out_of_memory if self._may_retry else out_of_memory_together
            raise too_large(n_tokens=tried)
        # What documents share counts once, so a micro-batch may hold more tokens than the budget.
        self.tokens = min(tried, self.tokens) // 2
        logger.warning("out of memory, trying less at once: tokens=%d", self.tokens)
        self._on_halved(self.tokens)


def _give_back() -> None:
    """Let the C library hand back what was freed, and what will be: in pieces it is of no use for a large tensor.

    By itself glibc puts tensors of up to 32 MiB between small things that stay. It is faster so, where memory
    is plenty: what is mapped anew must be cleared.
    """
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_ALONE)
        library.malloc_trim(0)


def longest_first(documents: list[Document]) -> list[Document]:
    """Order documents so that neighbours are alike in length."""
    return sorted(documents, key=len, reverse=True)


def pack(
    documents: list[Document],
    tokens: int,
    *,
    n_shared: Callable[[Document, Document], int] = lambda _one, _next: 0,
) -> list[list[Document]]:
    """Put documents into as few groups of at most so many tokens as a greedy hand does.

    Args:
        documents: In order, so that neighbours suit each other.
        tokens: A document beyond them is alone.
        n_shared: How many tokens a document need not run after another one in its group.
    """
    groups: list[list[Document]] = []
    room = 0
    for document in documents:
        n_tokens = len(document) - (n_shared(groups[-1][-1], document) if groups else 0)
        if not groups or n_tokens > room:
            groups.append([])
            room, n_tokens = tokens, len(document)
        groups[-1].append(document)
        room -= n_tokens
    return groups
