"""An adapter's way from the trainer's disk to its engine, and what the engine says of it there.

For the final one this begins while the trainer still takes its own side of the proof: each has a processor or an
accelerator of its own, and neither needs what the other finds until both are held against each other.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs import events
from jobs.claims import Claim
from jobs.early_baseline import EarlyBaseline, asks_the_same
from jobs.engines import AdapterRef
from jobs.rendering_watch import rendering_report
from jobs.store.jobs import NewEvent
from schemas.bases import BaseModelInfo
from schemas.errors import ApiError, JobFailure
from schemas.ids import new_id
from schemas.proof import Proof
from schemas.training import AdapterSaved, ModelChosen
from serving.adapters import inspect_adapter
from serving.proof import Answers, Baseline, ask
from serving.vllm import NotOffered, Vllm

logger = logging.getLogger(__name__)

ENGINE_PATIENCE: Final = 600.0
"""Seconds: a large base takes minutes to load."""
_RENDERING_UNTOLD: Final = (
    "The engine does not tell how it renders conversations (it serves no /tokenize), so that nobody could "
    "check whether it asks the model as training did."
)


@dataclass(frozen=True)
class Answered:
    """An adapter that its engine has loaded, and what the engine answered."""

    adapter: AdapterRef
    baseline: Baseline
    answers: Answers
    notes: list[NewEvent]
    """Of how it renders."""


class EarlyAdapter:
    """The adapter that is most likely the final one, kept, loaded and asked before its proof is there.

    Nothing is decided here: what fails is left to publication, which tries again and finds the words.

    Args:
        claim: Of its job.
        base: Its base.
        baseline: Of the same job: what the base said before.
    """

    def __init__(self, claim: Claim, base: BaseModelInfo, baseline: EarlyBaseline) -> None:
        self._claim = claim
        self._base = base
        self._baseline = baseline
        self._step: int | None = None
        self._asking: asyncio.Task[tuple[Proof, Answered] | None] | None = None
        self._loaded: AdapterRef | None = None

    def begin(self, saved: AdapterSaved) -> None:
        """Take it to the engine from now on, beside whatever else happens."""
        if self._asking is None:
            self._step = saved.step
            self._asking = asyncio.create_task(self._ask(saved.adapter_dir))

    async def on(self, chosen: ModelChosen, proof: Proof) -> Answered | None:
        """Return what was answered to a proof's very questions, if this became the final adapter.

        It is the caller's to unload from now on.
        """
        if self._asking is None or self._step != chosen.step:
            return None
        found = await self._asking
        if found is None or not asks_the_same(found[0], proof):
            return None
        self._loaded = None
        return found[1]

    async def close(self) -> None:
        """Ask no more; an adapter that nobody took over leaves the engine."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        if self._loaded is not None:
            await self._claim.services.engines.unload(self._base.name, self._loaded.id)

    async def _ask(self, adapter_dir: Path) -> tuple[Proof, Answered] | None:
        engines, base = self._claim.services.engines, self._base
        measured = await self._baseline.measured()
        if measured is None:
            return None
        asked, baseline = measured
        try:
            adapter = await keep_adapter(self._claim, base, adapter_dir)
            vllm = await engines.ready(base, patience=ENGINE_PATIENCE)
            name = await engines.base_name(base)
            notes = await check_rendering(vllm, base, adapter, base_name=name)
            self._loaded = adapter
            await engines.ensure(base, adapter)
            answers = await ask(vllm, asked, base=name, adapter=adapter.id)
        except (ApiError, JobFailure, OSError) as exc:
            logger.info("the adapter is taken to its engine once more: base=%s %r", base.name, exc)
            return None
        return asked, Answered(adapter, baseline, answers, notes)


@asynccontextmanager
async def open_early_adapter(
    claim: Claim, base: BaseModelInfo, baseline: EarlyBaseline
) -> AsyncGenerator[EarlyAdapter]:
    """Offer an early adapter; at the end nothing of it is under way, or loaded without a name."""
    early = EarlyAdapter(claim, base, baseline)
    try:
        yield early
    finally:
        await early.close()


async def keep_adapter(claim: Claim, base: BaseModelInfo, source: Path) -> AdapterRef:
    """Copy an adapter to where engines read it.

    What fails after this stays on disk, unnamed, until the next start: an engine that has once loaded an
    adapter may read its files again, and dies if they are gone.

    Raises:
        AdapterRejected: It is not fit to be served.
    """
    # Before anything is copied: vLLM says 200 to most adapters that do not fit.
    max_rank = claim.services.settings.max_lora_rank
    await asyncio.to_thread(inspect_adapter, source, base.directory, max_rank=max_rank)
    adapter_id = new_id("adapter-")
    await claim.services.blobs.keep_adapter(source, adapter_id)
    return AdapterRef(adapter_id, claim.services.blobs.adapter_dir(adapter_id))


async def check_rendering(
    vllm: Vllm, base: BaseModelInfo, adapter: AdapterRef, *, base_name: str
) -> list[NewEvent]:
    """Return what the user should hear of how the engine renders.

    Raises:
        JobFailure: It asks the model with other tokens than training did.
        ModelServerUnavailable: It is not there.
    """
    try:
        report = await rendering_report(
            vllm, base=base, adapter_dir=adapter.directory, model=base_name
        )
    except NotOffered:
        return [events.noted("rendering", _RENDERING_UNTOLD, level="warn")]
    if report and report.differences:
        raise JobFailure(
            f"The tuned model is not published, because {report.sentence}",
            code="template_mismatch",
        )
    return []
