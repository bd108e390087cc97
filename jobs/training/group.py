"""The processes that train one model together: whose documents are whose, and what is added up.

Each holds the whole adapter and takes the same optimizer steps; they differ only in which documents of
a step they run. Gradients and sums are added up, so that a step is the one that a single process would take.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Self, TypeVar

import torch
from torch import Tensor, distributed

from jobs.training.corpus import Document
from jobs.training.process import Preempted, Preemption

T = TypeVar("T")

_PATIENCE: Final = timedelta(minutes=30)
"""For another process: the first one writes checkpoints while the others wait."""


@dataclass(frozen=True)
class Group:
    """This process among those that train together; by default it is alone."""

    rank: int = 0
    """From 0."""
    size: int = 1
    is_sharded: bool = False
    """Whether each holds a part of the base, so that all of them must run whenever one does."""

    @classmethod
    def join(cls, *, is_sharded: bool) -> Self:
        """Meet the others, of whom torchrun's environment variables tell.

        On CUDA each process takes the device of its number, and tensors travel by NCCL; else by gloo.
        """
        is_cuda = torch.cuda.is_available()
        if is_cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        distributed.init_process_group("nccl" if is_cuda else "gloo", timeout=_PATIENCE)
        return cls(distributed.get_rank(), distributed.get_world_size(), is_sharded)

    @property
    def is_first(self) -> bool:
        """Whether this process reports and writes; exactly one does."""
        return self.rank == 0

    def share(self, documents: list[Document]) -> list[Document]:
        """Return this process's part: each document is in exactly one, maybe none is in this.

        The longest first, each to whoever has the fewest tokens by then.
        """
        if self.size == 1:
            return documents
        shares: list[list[Document]] = [[] for _ in range(self.size)]
        tokens = [0] * self.size
        for document in sorted(documents, key=len, reverse=True):
            least = tokens.index(min(tokens))
            shares[least].append(document)
            tokens[least] += len(document)
        return shares[self.rank]

    def zeros(self, n: int) -> Tensor:
        """Return float64 zeros: what a process adds that ran nothing."""
        return torch.zeros(n, dtype=torch.float64, device=self._device())

    def add_up_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes; one that ran nothing adds nothing."""
        if self.size == 1:
            return
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.add_up(parameter.grad for parameter in parameters)

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes: the same bits in each of them."""
        if self.size == 1:
            return
        by_dtype: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            by_dtype.setdefault(tensor.dtype, []).append(tensor)
        for alike in by_dtype.values():
            flat = torch.cat([tensor.flatten() for tensor in alike])  # one message, not hundreds
            distributed.all_reduce(flat)
            parts = flat.split([tensor.numel() for tensor in alike])
            for tensor, part in zip(alike, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def passes(self, groups: list[T], *, filler: T) -> Iterator[tuple[T, float]]:
        """Yield this process's groups of documents, each with the weight 1.

        Where the base is sharded, all processes make as many passes: one with fewer groups runs
        `filler` with the weight 0.
        """
        n_passes = self.most(len(groups)) if self.is_sharded else len(groups)  # agreed on first
        yield from ((group, 1.0) for group in groups)
        yield from ((filler, 0.0) for _ in range(n_passes - len(groups)))

    @contextmanager
    def in_turn(self) -> Iterator[None]:
        """Let the processes do something to the same files one after another, the first one first."""
        for _ in range(self.rank):
            self.most(0)
        yield
        for _ in range(self.size - self.rank):
            self.most(0)

    def check(self, preemption: Preemption) -> None:
        """Look whether any process was asked to go: then all do, at the same place.

        Raises:
            Preempted: One was.
        """
        if self.any(flag=preemption.requested):
            raise Preempted

    def any(self, *, flag: bool) -> bool:
        """Return whether it is so in any process: all of them get the same answer."""
        return self.most(int(flag)) > 0

    def most(self, number: int) -> int:
        """Return the largest of all processes' numbers."""
        return self.most_of_each(number)[0]

    def most_of_each(self, *numbers: int) -> list[int]:
        """Return, for each place, the largest of all processes' numbers there."""
        if self.size == 1:
            return [*numbers]
        largest = torch.tensor(numbers, device=self._device())
        distributed.all_reduce(largest, distributed.ReduceOp.MAX)
        return [int(number) for number in largest.tolist()]

    def leave(self) -> None:
        """Part in good order; safe to repeat."""
        if distributed.is_initialized():
            distributed.destroy_process_group()

    def _device(self) -> torch.device:
        # NCCL knows no CPU tensors.
        is_cuda = self.size > 1 and distributed.get_backend() == "nccl"
        return torch.device("cuda", torch.cuda.current_device()) if is_cuda else torch.device("cpu")


ALONE: Final = Group()
