"""From an adapter on the trainer's disk to a model that answers: kept, loaded, proven, then named."""

import asyncio
import csv
import io
import logging
import time
from pathlib import Path
from typing import Final

from jobs import events, files
from jobs.claims import Claim
from jobs.early_baseline import EarlyBaseline
from jobs.engines import AdapterRef
from jobs.job_usage import used_by
from jobs.lifecycle import advance
from jobs.rendering_watch import rendering_report
from jobs.reports.states import awaited
from jobs.store.jobs import NewEvent, Outcome
from jobs.store.records import JobRecord, ModelRecord
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure
from schemas.fine_tuning import Checkpoint, CheckpointMetrics, Event
from schemas.ids import TunedModelName, new_id, new_model_id
from schemas.proof import PROOF, Proof
from schemas.training import BestSaved, CheckpointSaved, ModelChosen, TrainingDone
from schemas.usage import Used
from serving.adapters import inspect_adapter
from serving.proof import Baseline, ProofReport, measure_base, prove
from serving.vllm import NotOffered, Vllm

logger = logging.getLogger(__name__)

ENGINE_PATIENCE: Final = 600.0
"""Seconds: a large base takes minutes to load."""
_RENDERING_UNTOLD: Final = (
    "The engine does not tell how it renders conversations (it serves no /tokenize), so that nobody could "
    "check whether it asks the model as training did."
)
_CSV_COLUMNS: Final = (
    ("step", "step"),
    ("train_loss", "train_loss"),
    ("train_accuracy", "train_mean_token_accuracy"),
    ("valid_loss", "valid_loss"),
    ("valid_mean_token_accuracy", "valid_mean_token_accuracy"),
)


async def publish_checkpoint(claim: Claim, saved: CheckpointSaved | BestSaved) -> None:
    """Make an adapter that was saved on the way a model that can be asked while the job goes on. Safe to repeat.

    Raises:
        JobFailure: The adapter is not fit to be served.
        Fenced: The job is no longer ours.
    """
    if await claim.services.store.jobs.has_checkpoint(claim.job_id, step=saved.step):
        return
    base = claim.base()
    metrics = await _metrics_at(claim, saved.step)
    adapter = await _keep_adapter(claim, base, saved.adapter_dir)
    name = str(_new_name(claim.record).model_copy(update={"step": saved.step}))
    checkpoint = _checkpoint(claim, saved.step, name, metrics)
    model = _model(claim.record, name, adapter)
    told = events.checkpoint_created(saved.step, name)
    await claim.change(
        lambda record: Outcome(record=record, events=[told], checkpoint=checkpoint, model=model)
    )


async def publish(
    claim: Claim,
    base: BaseModelInfo,
    chosen: ModelChosen,
    done: TrainingDone,
    early: EarlyBaseline,
) -> str:
    """Load the final adapter, prove that it acts as the trainer left it, and end the job.

    Returns:
        The tuned model's name.

    Raises:
        JobFailure: The proof failed: the model that would answer is not the one that was trained, or
            would be asked otherwise.
        ModelServerUnavailable: The engine is not there.
        Fenced: The job is no longer ours; nothing is published.
    """
    engines = claim.services.engines
    adapter = await _keep_adapter(claim, base, chosen.adapter_dir)
    proof = Proof.model_validate_json((adapter.directory / PROOF).read_bytes())
    vllm = await engines.ready(base, patience=ENGINE_PATIENCE)
    base_name = await engines.base_name(base)
    notes = await _check_rendering(vllm, base, adapter, base_name=base_name)
    try:
        report = await _proven(claim, base, adapter, proof, baseline=await early.on(proof))
        logger.info("proven: job_id=%s %s", claim.job_id, report)
        notes += [
            events.noted(f"proof-{number}", warning, level="warn")
            for number, warning in enumerate(report.warnings)
        ]
        return await _succeed(claim, chosen, done, adapter, notes)
    except BaseException:
        await engines.unload(base.name, adapter.id)
        raise


async def _proven(
    claim: Claim,
    base: BaseModelInfo,
    adapter: AdapterRef,
    proof: Proof,
    *,
    baseline: Baseline | None,
) -> ProofReport:
    """Load an adapter and prove it.

    Args:
        claim: Of its job.
        base: Its base.
        adapter: Kept.
        proof: What the trainer knows.
        baseline: The engine's base, measured ahead; None: measured now.

    Raises:
        JobFailure: It is not proven.
        ModelServerUnavailable: The engine is not there.
    """
    engines = claim.services.engines
    vllm = await engines.ready(base, patience=ENGINE_PATIENCE)
    base_name = await engines.base_name(base)
    now = baseline or await measure_base(vllm, proof, base=base_name)
    await engines.ensure(base, adapter)
    try:
        return await prove(vllm, proof, base=base_name, adapter=adapter.id, baseline=now)
    except JobFailure:
        if baseline is None:
            raise
    # Training may have taken hours, in which the operator gave the engine another base or dtype: what it
    # holds today decides.
    await engines.unload(base.name, adapter.id)
    return await _proven(claim, base, adapter, proof, baseline=None)


async def _check_rendering(
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


async def _succeed(
    claim: Claim,
    chosen: ModelChosen,
    done: TrainingDone,
    adapter: AdapterRef,
    notes: list[NewEvent],
) -> str:
    name = str(_new_name(claim.record))
    checkpoint = _checkpoint(claim, chosen.step, name, await _metrics_at(claim, chosen.step))
    model = _model(claim.record, name, adapter)
    table = result_csv(await claim.services.store.jobs.metrics(claim.job_id))
    result = await files.create_result(
        claim.services,
        project_id=claim.record.project_id,
        content=table,
        filename="step_metrics.csv",
    )
    n_compared = claim.services.settings.report_examples
    told = [
        *notes,
        events.checkpoint_created(chosen.step, name),
        events.model_created(name),
        events.succeeded(),
    ]

    def change(record: JobRecord) -> Outcome:
        job = advance(record.job, "succeeded", now=int(time.time())).model_copy(
            update={
                "fine_tuned_model": name,
                "trained_tokens": done.trained_tokens,
                "result_files": [result.id],
            }
        )
        ended = record.model_copy(update={"job": job, "owner": None, "lease_until": 0.0})
        ended = awaited(ended, n_examples=n_compared, now=time.time())
        trained = Used(requests=1, input_tokens=done.trained_tokens)
        return Outcome(
            record=ended,
            events=told,
            checkpoint=checkpoint,
            model=model,
            used={used_by(record, now=time.time()): trained},
        )

    try:
        await claim.change(change)
    except BaseException:
        # A cancellation may come after the commit: only the record knows which it was.
        job = (await claim.services.store.jobs.get(claim.job_id)).job
        if result.id not in job.result_files:
            await claim.services.store.files.delete(result.id, project_id=claim.record.project_id)
            await claim.services.blobs.delete_file(result.id)
        raise
    return name


def result_csv(metrics: list[Event]) -> bytes:
    """Return the result file: a row a step, empty cells where nothing was measured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([column for column, _ in _CSV_COLUMNS])
    for event in metrics:
        writer.writerow([event.data.get(name, "") for _, name in _CSV_COLUMNS])
    return out.getvalue().encode()


async def _keep_adapter(claim: Claim, base: BaseModelInfo, source: Path) -> AdapterRef:
    """Copy an adapter to where engines read it.

    What fails after this stays on disk, unnamed, until the next start: an engine that has once loaded an
    adapter may read its files again, and dies if they are gone.
    """
    # Before anything is copied: vLLM says 200 to most adapters that do not fit.
    max_rank = claim.services.settings.max_lora_rank
    await asyncio.to_thread(inspect_adapter, source, base.directory, max_rank=max_rank)
    adapter_id = new_id("adapter-")
    await claim.services.blobs.keep_adapter(source, adapter_id)
    return AdapterRef(adapter_id, claim.services.blobs.adapter_dir(adapter_id))


async def _metrics_at(claim: Claim, step: int) -> dict[str, float]:
    for event in reversed(await claim.services.store.jobs.metrics(claim.job_id)):
        if event.data.get("step") == step:
            known = {key: event.data.get(key) for key in CheckpointMetrics.model_fields}
            return {key: float(value) for key, value in known.items() if value is not None}
    return {"step": float(step)}


def _new_name(record: JobRecord) -> TunedModelName:
    return TunedModelName(
        base=record.base,
        organization=record.job.organization_id,
        suffix=record.plan.suffix,
        id=new_model_id(),
    )


def _model(record: JobRecord, name: str, adapter: AdapterRef) -> ModelRecord:
    return ModelRecord(
        name=name,
        project_id=record.project_id,
        organization_id=record.job.organization_id,
        base=record.base,
        adapter_id=adapter.id,
        job_id=record.job.id,
        created_at=int(time.time()),
    )


def _checkpoint(claim: Claim, step: int, name: str, metrics: dict[str, float]) -> Checkpoint:
    return Checkpoint(
        id=new_id("ftckpt_"),
        created_at=int(time.time()),
        fine_tuned_model_checkpoint=name,
        fine_tuning_job_id=claim.job_id,
        step_number=step,
        metrics=metrics,
    )
