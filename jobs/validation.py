"""Looking at a job's files before anything is trained: the way from `validating_files` to `queued`."""

import asyncio
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from jobs import events
from jobs.claims import Claim
from jobs.dataset import FileRole, check_file, count_shared_examples
from jobs.dataset_report import DatasetReport
from jobs.lifecycle import advance
from jobs.memory_fit import AdapterSize, Demand, trainer_memory, warn_of_memory
from jobs.memory_left import memory_left
from jobs.pausing import pause
from jobs.rendering import Renderer
from jobs.store.jobs import NewEvent, Outcome
from jobs.store.records import JobRecord
from schemas.bases import BaseModelInfo
from schemas.errors import FileNotFound, JobFailure


async def validate(claim: Claim) -> None:
    """Check a claimed job's files, with the tokenizer and template that will train and serve.

    Raises:
        JobFailure: A file cannot be trained on; it names the example and the line.
        Fenced: The job is no longer ours.
    """
    job = claim.record.job
    base = claim.base()
    renderer = await asyncio.to_thread(Renderer.load, base.directory)
    training = await _check(claim, base, renderer, role="training")
    warnings = [*training.warnings, *await asyncio.to_thread(_memory, claim, base, training)]
    if job.validation_file is not None:
        validation = await _check(claim, base, renderer, role="validation")
        warnings += validation.warnings
        warnings += await _leaks(claim)
    # The engine starts beside the training, so that it is up when the adapter is.
    await claim.services.engines.want(base)
    await claim.change(lambda record: _queued(record, training, warnings))


async def _check(
    claim: Claim, base: BaseModelInfo, renderer: Renderer, *, role: FileRole
) -> DatasetReport:
    job = claim.record.job
    file_id = job.training_file if role == "training" else job.validation_file
    assert file_id is not None
    path = await _path(claim, file_id, param=f"{role}_file")
    stop = threading.Event()
    try:
        return await asyncio.to_thread(
            check_file,
            path,
            role=role,
            file_id=file_id,
            renderer=renderer,
            context_length=base.context_length,
            should_stop=stop.is_set,
        )
    finally:
        # A thread cannot be cancelled; it looks at this between lines.
        stop.set()


def _memory(claim: Claim, base: BaseModelInfo, report: DatasetReport) -> list[str]:
    """Warn where memory is short now.

    Raises:
        JobFailure: `out_of_memory`: it never would be enough.
    """
    settings, left = claim.services.settings, memory_left()
    memory = trainer_memory(n_processes=settings.trainer_processes)
    if memory is None or left is None:
        return []
    adapter_id = claim.record.plan.init_adapter_id
    adapter = AdapterSize.of(
        base,
        claim.record.job.hyperparameters,
        max_rank=settings.max_lora_rank,
        earlier=claim.services.blobs.adapter_dir(adapter_id) if adapter_id else None,
    )
    demand = Demand.of(base, adapter, bytes_each=memory.bytes_each)
    if demand is None:
        return []
    share = report.loss_tokens / max(report.tokens, 1)
    warning = warn_of_memory(
        demand,
        longest=report.longest,
        n_trained=round(report.longest * share),
        total=memory.total_bytes,
        left=left // settings.trainer_processes,
    )
    return [] if warning is None else [warning]


async def _leaks(claim: Claim) -> list[str]:
    """Warn of validation examples that are trained on: their loss says nothing of new ones."""
    job, blobs = claim.record.job, claim.services.blobs
    assert job.validation_file is not None
    shared = await asyncio.to_thread(
        count_shared_examples,
        blobs.file_path(job.training_file),
        blobs.file_path(job.validation_file),
    )
    if shared == 0:
        return []
    warning = (
        f"{shared} example(s) of the validation file are in the training file too, word for word. "
        "The validation loss will look better than it is; leave them out of one of the two."
    )
    return [warning]


async def _path(claim: Claim, file_id: str, *, param: str) -> Path:
    try:
        await claim.services.store.files.get(file_id, project_id=claim.record.project_id)
    except FileNotFound as exc:
        raise JobFailure(
            f"The file {file_id} was deleted before the job could read it.",
            code=f"invalid_{param}",
            param=param,
        ) from exc
    return claim.services.blobs.file_path(file_id)


def _queued(record: JobRecord, report: DatasetReport, warnings: Sequence[str]) -> Outcome:
    job = advance(record.job, "queued", now=int(time.time()))
    plan = record.plan.model_copy(
        update={"n_examples": report.n_examples, "n_trained_tokens": report.loss_tokens}
    )
    released = record.model_copy(
        update={"job": job, "plan": plan, "owner": None, "lease_until": 0.0}
    )
    told: list[NewEvent] = [
        events.noted(f"warning-{number}", warning, level="warn")
        for number, warning in enumerate(warnings)
    ]
    told.append(events.validated())
    if not record.is_pausing:
        return Outcome(record=released, events=told)
    paused = pause(released, now=time.time())
    return Outcome(record=paused.record, events=[*told, *paused.events])
