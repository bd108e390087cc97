"""What a job would do, without making one: its files looked at, its numbers resolved, its cost estimated."""

import asyncio
from collections.abc import Sequence
from statistics import median
from typing import Final

from jobs.graders.children import ChildFailed, ChildTooSlow
from jobs.holding_out import count_held_out
from jobs.hyperparameters import Resolved, TrainingFile, count_steps, resolve
from jobs.job_requests import Accepted, accept
from jobs.keys import Caller
from jobs.lora_layers import LinearLayers, layers_of
from jobs.memory_check import OUT_OF_MEMORY, Fit, find_demand, refuse_what_never_fits
from jobs.memory_fit import expected_bytes
from jobs.services import Services
from schemas.bases import BaseModelInfo
from schemas.dry_run import (
    DryRun,
    DryRunAnswer,
    DryRunQuestion,
    Estimate,
    FileFindings,
    FileQuestion,
)
from schemas.errors import InvalidRequest, LimitReached
from schemas.fine_tuning import Event, JobError
from schemas.fine_tuning_requests import JobCreate

MAX_BYTES: Final = 16 * 2**20
"""Of both files; 45,000 short conversations took 40 s on two busy cores. A job takes larger ones: its
validation has no client who waits."""
_SECONDS: Final = 60.0
_PATIENCE: Final = 120.0
"""Seconds, with the wait for a turn."""


async def dry_run(services: Services, caller: Caller, request: JobCreate) -> DryRun:
    """Say what `request` would train, or why it would not; nothing is recorded.

    Raises:
        InvalidRequest: The job could not be created, or its files are too large to wait for.
        LimitReached: Too many ask at once.
    """
    accepted = await accept(services, caller, request)
    fit = await refuse_what_never_fits(services, request, accepted)
    base = services.catalog.get(accepted.base)
    files = await _files(services, caller, request)
    question = DryRunQuestion(
        base_dir=base.directory, context_length=base.context_length, files=files
    )
    training, *rest = (await _ask(services, question)).files
    findings = [_held_against(training, fit), *rest]
    demand = await find_demand(services, accepted, fit)
    layers = await asyncio.to_thread(layers_of, base.directory)
    measured = await services.store.jobs.measured(base.name)
    max_rank = services.settings.max_lora_rank
    expected = None if demand is None else expected_bytes(demand, training)
    memory = _memory(base, expected, measured)
    return _told(accepted, base, layers, findings, measured, memory=memory, max_rank=max_rank)


def _held_against(training: FileFindings, fit: Fit | None) -> FileFindings:
    """Return the findings with the error that a job without a dry run would meet."""
    problem = fit.problem_with(training) if fit and training.error is None else None
    if problem is None:
        return training
    error = JobError(code=OUT_OF_MEMORY, message=problem, param="training_file")
    return training.model_copy(update={"error": error})


async def _files(services: Services, caller: Caller, request: JobCreate) -> list[FileQuestion]:
    files = [
        FileQuestion(id=file_id, path=services.blobs.file_path(file_id), role=role)
        for file_id, role in (
            (request.training_file, "training"),
            (request.validation_file, "validation"),
        )
        if file_id is not None
    ]
    size = 0
    for file in files:
        record = await services.store.files.get(file.id, project_id=caller.project_id)
        size += record.bytes
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"The files have {size} bytes, and a dry run looks at {MAX_BYTES} at most. Create the job "
            "without 'dry_run': its validation takes files of any size, and it can be paused before "
            "it trains.",
            param="training_file",
            code="file_too_large",
        )
    return files


async def _ask(services: Services, question: DryRunQuestion) -> DryRunAnswer:
    asked = question.model_dump_json().encode()
    try:
        async with asyncio.timeout(_PATIENCE):
            answer = await services.dry_run_children.ask(
                "jobs.examination", asked, seconds=_SECONDS
            )
    except TimeoutError as exc:
        raise LimitReached(
            "Too many dry runs at once. Try again when the others have ended.",
            code="rate_limit_exceeded",
        ) from exc
    except ChildTooSlow as exc:
        raise InvalidRequest(
            f"Looking at the files took more than {_SECONDS:.0f} s. Create the job without 'dry_run', or "
            "send fewer examples.",
            param="training_file",
            code="file_too_large",
        ) from exc
    except ChildFailed as exc:
        raise InvalidRequest(
            "The files could not be looked at with this model. Create the job without 'dry_run': its "
            "error says why.",
            param="model",
        ) from exc
    return DryRunAnswer.model_validate_json(answer)


def _told(
    accepted: Accepted,
    base: BaseModelInfo,
    layers: LinearLayers,
    findings: Sequence[FileFindings],
    measured: Sequence[Event],
    *,
    memory: Estimate,
    max_rank: int,
) -> DryRun:
    training, *rest = findings
    errors = [found.error for found in findings if found.error is not None]
    asked = accepted.hyperparameters
    file = _trained_on(training, asked.validation_split)
    resolved = None
    if not errors:
        goes_on = accepted.init_adapter_id is not None
        resolved = resolve(asked, file, base, layers=layers, max_rank=max_rank, goes_on=goes_on)
    tokens = _tokens(resolved, file, training) if resolved else None
    return DryRun(
        model=accepted.model,
        would_train=not errors,
        error=errors[0] if errors else None,
        training_file=training.id,
        validation_file=rest[0].id if rest else None,
        training=training,
        validation=rest[0] if rest else None,
        hyperparameters=resolved.in_full(asked) if resolved else asked,
        learning_rate=resolved.learning_rate if resolved else None,
        reasons=resolved.reasons if resolved else [],
        warnings=resolved.warnings if resolved else [],
        n_steps=_steps(resolved, file) if resolved else None,
        trained_tokens=tokens,
        seconds=_seconds(base, tokens, measured),
        memory_bytes=memory,
    )


def _trained_on(training: FileFindings, split: float | None) -> TrainingFile:
    held_out = count_held_out(training.n_examples, split)
    return TrainingFile(training.n_examples - held_out, training.trained_tokens)


def _tokens(resolved: Resolved, file: TrainingFile, training: FileFindings) -> int:
    share = file.n_examples / training.n_examples
    return round(resolved.n_epochs * training.tokens * share)


def _steps(resolved: Resolved, file: TrainingFile) -> int:
    return count_steps(file.n_examples, n_epochs=resolved.n_epochs, batch_size=resolved.batch_size)


def _seconds(base: BaseModelInfo, tokens: int | None, measured: Sequence[Event]) -> Estimate:
    if tokens is None:
        return Estimate(value=None, basis="The job would not train.")
    if not measured:
        return _unknown(base)
    rate = median(float(event.data["tokens_per_second"]) for event in measured)
    basis = f"{rate:,.0f} tokens a second, the median of {_last_jobs(base, measured)}."
    return Estimate(value=round(tokens / rate, 1), basis=basis)


def _memory(base: BaseModelInfo, expected: int | None, measured: Sequence[Event]) -> Estimate:
    """The trainer fills passes up to a fixed number of tokens, so that one job holds what another does."""
    peaks = [peak for event in measured if (peak := event.data.get("peak_memory_bytes"))]
    if not peaks:
        return _expected(base, expected)
    return Estimate(
        value=float(max(peaks)), basis=f"The most that was seen in {_last_jobs(base, measured)}."
    )


def _expected(base: BaseModelInfo, n_bytes: int | None) -> Estimate:
    if n_bytes is None:
        return _unknown(base)
    return Estimate(
        value=float(n_bytes),
        basis=f"Estimated from the shape of {base.name} and the longest example: no job has been trained "
        "on it here since this is measured.",
    )


def _last_jobs(base: BaseModelInfo, measured: Sequence[Event]) -> str:
    jobs = "job" if len(measured) == 1 else f"{len(measured)} jobs"
    return f"the last {jobs} on {base.name}"


def _unknown(base: BaseModelInfo) -> Estimate:
    return Estimate(
        value=None,
        basis=f"Not known: no job has been trained on {base.name} here since this is measured.",
    )
