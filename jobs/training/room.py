"""How many tokens a run begins with, from what its device has left, and what it has learned of that since."""

import logging
from collections.abc import Callable
from typing import Final, Self

import torch

from jobs.memory_estimate import Shape, tokens_that_fit
from jobs.memory_left import memory_left
from jobs.tokens_at_once import TokensAtOnce, keep_tokens_at_once, read_tokens_at_once
from jobs.training.corpus import Corpus
from jobs.training.group import ALONE, Group
from jobs.training.model import TunedModel
from jobs.training.recomputing import recompute_layers
from schemas.training import Noted, TrainingSpec

logger = logging.getLogger(__name__)

_CPU_TOKENS: Final = 2048
"""Beyond a few hundred tokens a CPU gains nothing."""
_ACCELERATOR_TOKENS: Final = 8192
_SHARE: Final = 0.9
"""Of free memory that a pass may take: the estimate is within 20 %, and errs rather upwards."""


class Room:
    """The memory of one run: what it begins with, and how it may save some.

    Args:
        model: Its layers are told to keep less, where that is needed.
        tokens: To run at once.
        write: Writes down how many tokens are run at once from now on, and whether layers are recomputed.
    """

    def __init__(
        self,
        model: TunedModel,
        *,
        tokens: int,
        write: Callable[[int, bool], None] = lambda _tokens, _recomputes: None,
    ) -> None:
        self._model = model
        self._recomputes = False
        self._write = write
        self.tokens = tokens

    @classmethod
    def whole(cls, model: TunedModel) -> Self:
        """Return the room of a device on which nothing is scarce."""
        return cls(model, tokens=_most(model.device))

    @classmethod
    def of(
        cls,
        spec: TrainingSpec,
        model: TunedModel,
        corpus: Corpus,
        *,
        tell: Callable[[Noted], None],
        group: Group = ALONE,
    ) -> Self:
        """Return what is left for a run, as its first attempt found it: one that goes on runs the same.

        Several processes agree on what the one with the least of it can do.

        Args:
            spec: Its `work_dir` remembers.
            model: Lies on its device.
            corpus: What is learned from.
            tell: Takes what the user should know.
            group: Of which this process is one.
        """

        def write(tokens: int, recomputes: bool) -> None:
            kept = TokensAtOnce(tokens=tokens, longest=corpus.longest, recomputes=recomputes)
            keep_tokens_at_once(spec.work_dir, kept)

        known = read_tokens_at_once(spec.work_dir)
        room = cls(model, tokens=known.tokens if known else _most(model.device), write=write)
        if known and known.recomputes:
            room.save()
        shape, free = Shape.read(spec.base_dir), _free(model.device, group)
        if shape is not None and free is not None:
            least = -group.most(-free)  # from here on each of them computes the same
            free = int(least * _SHARE) - _later_bytes(model)
            first_alone = tell if group.is_first else _untold
            room._fit(shape, free, corpus, first_alone, rank=spec.lora.rank, is_new=known is None)
        room.keep(room.tokens)
        return room

    def agree(self, group: Group) -> None:
        """Go on with the least that any process has come to, as all of them do."""
        least, recomputes = group.most_of_each(-self.tokens, int(self._recomputes))
        if recomputes:
            self.save()
        if -least < self.tokens:
            self.keep(-least)

    def keep(self, tokens: int) -> None:
        """Run at most so many tokens at once from now on, and let later attempts know."""
        self.tokens = tokens
        self._write(tokens, self._recomputes)

    def save(self) -> bool:
        """Keep less of each pass from now on; return whether that was not done yet."""
        if self._recomputes:
            return False
        recompute_layers(self._model.network)
        self._recomputes = True
        self.keep(self.tokens)
        return True

    def _fit(
        self,
        shape: Shape,
        free: int,
        corpus: Corpus,
        tell: Callable[[Noted], None],
        *,
        rank: int,
        is_new: bool,
    ) -> None:
        share = corpus.n_trained / corpus.n_run
        bytes_each = self._model.network.dtype.itemsize
        has_kernels = self._model.kernels.are_whole
        longest = shape.step_bytes(
            n_tokens=corpus.longest,
            n_trained=round(corpus.longest * share),
            longest=corpus.longest,
            bytes_each=bytes_each,
            rank=rank,
            has_kernels=has_kernels,
        )
        if longest > free and self.save():
            tell(_saves(corpus.longest))
        if not is_new:
            return
        fitting = tokens_that_fit(
            shape,
            free=free,
            at_most=self.tokens,
            trained_share=share,
            longest=corpus.longest,
            bytes_each=bytes_each,
            rank=rank,
            recomputed=self._recomputes,
            has_kernels=has_kernels,
        )
        if fitting < self.tokens:
            tell(_begins_with(fitting, free))
        logger.info("tokens at once: %d, free bytes for them: %d", fitting, free)
        self.tokens = fitting


def _most(device: torch.device) -> int:
    return _CPU_TOKENS if device.type == "cpu" else _ACCELERATOR_TOKENS


def _free(device: torch.device, group: Group) -> int | None:
    """Return the bytes that this process may take: its own device's, or its share of the machine's."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    left = memory_left()
    return None if left is None else left // group.size


def _later_bytes(model: TunedModel) -> int:
    """Return what the first step takes for good: a gradient and AdamW's two moments, in 32 bits."""
    n_parameters: int = sum(parameter.numel() for parameter in model.parameters.values())
    return 3 * 4 * n_parameters


def _untold(_note: Noted) -> None:
    return


def _begins_with(tokens: int, free: int) -> Noted:
    message = (
        f"Running at most {tokens:,} tokens at once, which {free / 2**30:.1f} GiB of free memory are "
        "enough for. What is learned stays the same, the batch size too."
    )
    return Noted(step=0, key="memory-begin", message=message)


def _saves(n_tokens: int) -> Noted:
    message = (
        f"The longest example, of {n_tokens:,} tokens, takes more memory than is free: intermediate "
        "results are computed twice instead of kept. A step takes about a third longer; what is learned "
        "stays the same."
    )
    return Noted(step=0, key="memory-saved", message=message, level="warn")
