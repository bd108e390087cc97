"""Whether any worker's trainer could ever hold a job: asked when it is created, in the words of a request.

What depends on the file is looked at only where the answer does: a small one is rendered then, a large
one is left to validation.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jobs.graders.children import ChildFailed
from jobs.hyperparameter_requests import param_of
from jobs.job_requests import Accepted
from jobs.memory_fit import (
    AdapterSize,
    Demand,
    bytes_of_a_number,
    in_gib,
    is_for_trainers_alone,
    too_long,
)
from jobs.services import WORKER_IS_ALIVE_FOR, Services
from jobs.store.records import TrainerMemory
from schemas.bases import BaseModelInfo
from schemas.dry_run import DryRunAnswer, DryRunQuestion, FileFindings, FileQuestion
from schemas.errors import InvalidRequest
from schemas.fine_tuning import Hyperparameters
from schemas.fine_tuning_requests import JobCreate

_LOOKED_AT_BYTES: Final = 2**20
_SECONDS: Final = 20.0
"""For looking at such a file: a second, as long as nobody else wants the processor."""
OUT_OF_MEMORY: Final = "out_of_memory"


@dataclass(frozen=True)
class Fit:
    """A job's demand, beside the memory of the trainer that comes nearest to it."""

    demand: Demand
    memory: TrainerMemory

    @property
    def overhang(self) -> int:
        """Bytes by which the shortest example there could be is too much; negative: that are left."""
        return self.least(1) - self.memory.total_bytes

    def least(self, longest: int, *, n_trained: int = 1) -> int:
        """Return the bytes that an example takes at least."""
        return self.demand.least(longest=longest, n_trained=n_trained)

    def problem_with(self, findings: FileFindings) -> str | None:
        """Return why a file's longest example fits nowhere; None where it fits."""
        longest = findings.longest_example
        n_trained = longest * findings.trained_tokens // max(findings.tokens, 1)
        needed = self.least(longest, n_trained=n_trained)
        if needed <= self.memory.total_bytes:
            return None
        return too_long(longest, needed=needed, total=self.memory.total_bytes)


async def find_fit(services: Services, accepted: Accepted) -> Fit | None:
    """Return how a job fits best into what workers have; None where that is not known of one of them."""
    alive = await services.store.machines.workers(seen_after=time.time() - WORKER_IS_ALIVE_FOR)
    memories = [worker.trainer for worker in alive if worker.trainer is not None]
    if not memories or len(memories) < len(alive):
        return None
    base = services.catalog.get(accepted.base)
    adapter = await asyncio.to_thread(_adapter_size, services, base, accepted)
    return await asyncio.to_thread(_best, base, adapter, memories)


async def find_demand(services: Services, accepted: Accepted, fit: Fit | None) -> Demand | None:
    """Return a job's demand, on a machine like this where no worker's is known."""
    if fit is not None:
        return fit.demand
    base = services.catalog.get(accepted.base)
    adapter = await asyncio.to_thread(_adapter_size, services, base, accepted)
    return await asyncio.to_thread(Demand.of, base, adapter, bytes_each=bytes_of_a_number())


async def least_bytes(services: Services, base: BaseModelInfo) -> int | None:
    """Return the memory below which no job on a base trains on a CPU; None where it cannot be told."""
    if is_for_trainers_alone():
        return None
    accepted = Accepted(base.name, base.name, None, Hyperparameters(), "")
    demand = await find_demand(services, accepted, None)
    return None if demand is None else demand.least(longest=1, n_trained=1)


async def refuse_what_never_fits(
    services: Services, request: JobCreate, accepted: Accepted
) -> Fit | None:
    """Refuse a job whose base or adapter no worker could hold, whatever its examples.

    Returns:
        What to hold its examples against; None where nothing is known.

    Raises:
        InvalidRequest: It says how much is needed, how much there is, and what to change.
    """
    fit = await find_fit(services, accepted)
    if fit is None or fit.overhang <= 0:
        return fit
    rank = _largest_rank(fit)
    if rank and accepted.init_adapter_id is None:
        param = param_of(request, "lora_rank")
        raise InvalidRequest(
            f"Invalid '{param}': with rank {fit.demand.adapter.rank}, training '{request.model}' takes at least "
            f"{in_gib(fit.least(1))} of memory, and the largest worker's trainer has "
            f"{in_gib(fit.memory.total_bytes)}. Rank {rank} would fit; fewer lora_target_modules need less too.",
            param=param,
            code=OUT_OF_MEMORY,
        )
    raise InvalidRequest(
        f"The model '{request.model}' cannot be tuned here: that takes at least {in_gib(fit.least(1))} of memory, "
        f"and the largest worker's trainer has {in_gib(fit.memory.total_bytes)}. Choose a smaller base, or have "
        "a worker run on a larger machine.",
        param="model",
        code=OUT_OF_MEMORY,
    )


async def refuse_long_examples(services: Services, request: JobCreate, fit: Fit | None) -> None:
    """Refuse a job whose longest example no worker could hold, where that is soon found out.

    Raises:
        InvalidRequest: It says so of the training file.
    """
    if fit is None:
        return
    base, total = fit.demand.base, fit.memory.total_bytes
    if fit.least(base.context_length, n_trained=base.context_length) <= total:
        return  # whatever the file holds
    findings = await _look(services, base, request.training_file)
    problem = findings and fit.problem_with(findings)
    if problem:
        raise InvalidRequest(problem, param="training_file", code=OUT_OF_MEMORY)


def _adapter_size(services: Services, base: BaseModelInfo, accepted: Accepted) -> AdapterSize:
    adapter_id = accepted.init_adapter_id
    return AdapterSize.of(
        base,
        accepted.hyperparameters,
        max_rank=services.settings.max_lora_rank,
        earlier=services.blobs.adapter_dir(adapter_id) if adapter_id else None,
    )


def _best(
    base: BaseModelInfo, adapter: AdapterSize, memories: Sequence[TrainerMemory]
) -> Fit | None:
    demands = (
        (Demand.of(base, adapter, bytes_each=memory.bytes_each), memory) for memory in memories
    )
    fits = (Fit(demand, memory) for demand, memory in demands if demand)
    return min(fits, key=lambda fit: fit.overhang, default=None)


def _largest_rank(fit: Fit) -> int:
    """Return the largest rank with which the shortest example fits; 0: none."""
    adapter = fit.demand.adapter
    for rank in range(adapter.rank - 1, 0, -1):
        smaller = AdapterSize(adapter.n_parameters * rank // adapter.rank, rank=rank)
        if replace(fit, demand=replace(fit.demand, adapter=smaller)).overhang <= 0:
            return rank
    return 0


async def _look(services: Services, base: BaseModelInfo, file_id: str) -> FileFindings | None:
    """Return what a small file holds; None where it is large, or hard to read: validation will tell."""
    path = services.blobs.file_path(file_id)
    if await asyncio.to_thread(lambda: path.stat().st_size) > _LOOKED_AT_BYTES:
        return None
    question = DryRunQuestion(
        base_dir=base.directory,
        context_length=base.context_length,
        files=[FileQuestion(id=file_id, path=path, role="training")],
    )
    try:
        async with asyncio.timeout(_SECONDS):
            answer = await services.dry_run_children.ask(
                "jobs.examination", question.model_dump_json().encode(), seconds=_SECONDS
            )
    except (ChildFailed, TimeoutError):
        return None
    return DryRunAnswer.model_validate_json(answer).files[0]
