"""From an adapter on the trainer's disk to a model that answers: kept, loaded, proven, then named."""

import csv
import io
import logging
import time
from dataclasses import dataclass
from typing import Final

from jobs import events, files
from jobs.claims import Claim
from jobs.early_baseline import EarlyBaseline
from jobs.engines import AdapterRef
from jobs.job_usage import used_by
from jobs.lifecycle import advance
from jobs.proving import ENGINE_PATIENCE, EarlyAdapter, check_rendering, keep_adapter
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
from serving.proof import Baseline, ProofReport, judge, measure_base, prove

logger = logging.getLogger(__name__)

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
    adapter = await keep_adapter(claim, base, saved.adapter_dir)
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
    *,
    baseline: EarlyBaseline,
    early: EarlyAdapter,
) -> str:
    """Load the final adapter, unless the engine has it already, prove that it acts as the trainer left it, and end the job.

    Returns:
        The tuned model's name.

    Raises:
        JobFailure: The proof failed: the model that would answer is not the one that was trained, or
            would be asked otherwise.
        ModelServerUnavailable: The engine is not there.
        Fenced: The job is no longer ours; nothing is published.
    """
    engines, blobs = claim.services.engines, claim.services.blobs
    proof_path = chosen.adapter_dir / PROOF
    proof = Proof.model_validate_json(proof_path.read_bytes())
    proven = await _proven_early(claim, base, chosen, proof, early) or await _proven_now(
        claim, base, chosen, proof, baseline=await baseline.on(proof)
    )
    report = proven.report
    logger.info("proven: job_id=%s %s", claim.job_id, report)
    warned = [
        events.noted(f"proof-{number}", warning, level="warn")
        for number, warning in enumerate(report.warnings)
    ]
    try:
        await blobs.add_to_adapter(proof_path, proven.adapter.id)
        return await _succeed(claim, chosen, done, proven.adapter, [*proven.notes, *warned])
    except BaseException:
        await engines.unload(base.name, proven.adapter.id)
        raise


@dataclass(frozen=True)
class _Proven:
    """An adapter that its engine has loaded and that acts as it was trained to."""

    adapter: AdapterRef
    report: ProofReport
    notes: list[NewEvent]


async def _proven_early(
    claim: Claim, base: BaseModelInfo, chosen: ModelChosen, proof: Proof, early: EarlyAdapter
) -> _Proven | None:
    """Return what the engine has proven by what it answered before; None where it has not."""
    answered = await early.on(chosen, proof)
    if answered is None:
        return None
    try:
        report = judge(
            proof,
            baseline=answered.baseline,
            tuned=answered.answers.tuned,
            base_after=answered.answers.base_after,
        )
    except JobFailure as failure:
        # Decided by what is measured now, from the start.
        logger.info("not proven early: job_id=%s %s", claim.job_id, failure.message)
        await claim.services.engines.unload(base.name, answered.adapter.id)
        return None
    return _Proven(answered.adapter, report, answered.notes)


async def _proven_now(
    claim: Claim,
    base: BaseModelInfo,
    chosen: ModelChosen,
    proof: Proof,
    *,
    baseline: Baseline | None,
) -> _Proven:
    """Take an adapter to its engine and prove it there; what is not proven leaves the engine.

    Args:
        claim: Of its job.
        base: Its base.
        chosen: Where it is.
        proof: What the trainer knows.
        baseline: The engine's base, measured ahead; None: measured now.

    Raises:
        JobFailure: It is not proven, or would be asked otherwise.
        ModelServerUnavailable: The engine is not there.
    """
    engines = claim.services.engines
    adapter = await keep_adapter(claim, base, chosen.adapter_dir)
    vllm = await engines.ready(base, patience=ENGINE_PATIENCE)
    base_name = await engines.base_name(base)
    notes = await check_rendering(vllm, base, adapter, base_name=base_name)
    try:
        report = await _report(claim, base, adapter, proof, baseline=baseline)
    except BaseException:
        await engines.unload(base.name, adapter.id)
        raise
    return _Proven(adapter, report, notes)


async def _report(
    claim: Claim,
    base: BaseModelInfo,
    adapter: AdapterRef,
    proof: Proof,
    *,
    baseline: Baseline | None,
) -> ProofReport:
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
    return await _report(claim, base, adapter, proof, baseline=None)


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
