"""The engine's base, asked beside the training what the proof will ask it: one wait less at its end."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from jobs.engines import Engines
from schemas.bases import BaseModelInfo
from schemas.errors import ApiError
from schemas.proof import ASKED, Proof
from serving.proof import Baseline, measure_base

logger = logging.getLogger(__name__)

_PATIENCE: Final = 600.0
"""Seconds for the engine to come up: a large base takes minutes to load."""


class EarlyBaseline:
    """What the base answers before the adapter is there, measured as soon as the trainer says on what.

    Args:
        engines: Has the base.
        base: Which is asked.
        work_dir: Where the trainer says what (`schemas.proof.ASKED`).
    """

    def __init__(self, engines: Engines, base: BaseModelInfo, work_dir: Path) -> None:
        self._engines = engines
        self._base = base
        self._asked = work_dir / ASKED
        self._measuring: asyncio.Task[tuple[Proof, Baseline] | None] | None = None

    def begin(self) -> None:
        """Measure from now on, beside whatever else happens. Safe to repeat."""
        if self._measuring is None:
            self._measuring = asyncio.create_task(self._measure())

    async def on(self, proof: Proof) -> Baseline | None:
        """Return what was measured on a proof's very examples; None where that was not."""
        measured = await self.measured()
        if measured is None or not asks_the_same(measured[0], proof):
            return None
        return measured[1]

    async def measured(self) -> tuple[Proof, Baseline] | None:
        """Return what was asked and answered, once it is; None where it was not, or cannot be."""
        return None if self._measuring is None else await asyncio.shield(self._measuring)

    async def close(self) -> None:
        """Measure no more."""
        if self._measuring is not None:
            self._measuring.cancel()
            await asyncio.wait({self._measuring})

    async def _measure(self) -> tuple[Proof, Baseline] | None:
        """Return what was asked and answered; None where it cannot be, which the proof will find too."""
        try:
            asked = Proof.model_validate_json(await asyncio.to_thread(self._asked.read_bytes))
            vllm = await self._engines.ready(self._base, patience=_PATIENCE)
            name = await self._engines.base_name(self._base)
            return asked, await measure_base(vllm, asked, base=name)
        except ValidationError:
            # Its words would quote the tokens of examples.
            logger.warning("what the trainer asks cannot be read: base=%s", self._base.name)
            return None
        except (OSError, ApiError) as exc:
            logger.info(
                "the base is asked once more, for the proof: base=%s %r", self._base.name, exc
            )
            return None


@asynccontextmanager
async def open_early_baseline(
    engines: Engines, base: BaseModelInfo, work_dir: Path
) -> AsyncGenerator[EarlyBaseline]:
    """Offer an early baseline; at the end nothing of it is under way."""
    early = EarlyBaseline(engines, base, work_dir)
    try:
        yield early
    finally:
        await early.close()


def asks_the_same(one: Proof, other: Proof) -> bool:
    """Whether two proofs are taken on the same tokens, whatever was answered."""
    return _questions(one) == _questions(other)


def _questions(proof: Proof) -> list[tuple[list[int], list[int]]]:
    return [(example.token_ids, example.positions) for example in proof.examples]
