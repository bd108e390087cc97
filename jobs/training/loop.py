"""The training loop: from a spec to adapters, on one screen."""

from collections.abc import Callable

from jobs.training.base import Base
from jobs.training.checkpoints import Checkpoints
from jobs.training.data import Data
from jobs.training.failures import base_model_unusable
from jobs.training.journal import Journal
from jobs.training.model import TunedModel
from jobs.training.plan import Plan
from jobs.training.process import Preemption
from jobs.training.proof import Prover
from jobs.training.reports import Reports
from jobs.training.resuming import ResumePoints
from jobs.training.run import Run
from schemas.training import Noted, TrainingEvent, TrainingSpec


def train(
    spec: TrainingSpec,
    *,
    emit: Callable[[TrainingEvent], None],
    preemption: Preemption,
    base: Base | None = None,
) -> None:
    """Train what the spec says, from where an earlier process left off.

    Args:
        spec: Its `work_dir` may hold resume points of the same run.
        emit: Takes each event as it happens. A step since the last resume point may be told twice.
        preemption: Looked at after each step.
        base: The spec's, where it was warmed up ahead.

    Raises:
        JobFailure: Training cannot go on; says why.
        Preempted: The process was asked to go; a resume point is on disk.
    """
    journal = Journal.of(spec)

    def tell(event: TrainingEvent) -> None:
        journal.add(event)
        emit(event)

    base = base or Base(spec.base_dir)
    data = Data.load(spec, base.renderer)
    run = _fresh_run(spec, data, base, tell)
    plan = Plan.of(spec, n_examples=len(data.training))
    points = ResumePoints.of(spec)
    points.restore(run)
    checkpoints = Checkpoints.of(spec, after_step=run.step, prover=Prover.of(spec, data))
    reports = Reports(run, plan=plan, data=data, preemption=preemption)

    def close_epoch(epoch: int) -> None:
        tell(reports.last_step_of_epoch())
        tell(checkpoints.ensure(run, epoch=epoch))

    emit(reports.started())
    told = journal.rewind(to_step=run.step)
    for event in told:
        emit(event)
    preemption.defer()
    resumed_epoch = plan.epoch_ending_at(run.step)
    if resumed_epoch and not any(e.kind == "checkpoint" and e.step == run.step for e in told):
        close_epoch(resumed_epoch)  # the process ended after the resume point, before it was told
    for step, examples in plan.batches(after=run.step):
        run.take_step(data.training.batch(examples), learning_rate=plan.learning_rate(step))
        epoch = plan.epoch_ending_at(step)
        if not epoch:
            tell(reports.step())
        # Before an epoch is closed: what was told of it then never changes.
        if epoch or points.is_due or preemption.requested:
            points.save(run)
        preemption.check()
        if epoch:
            close_epoch(epoch)
    emit(reports.done())


def _fresh_run(spec: TrainingSpec, data: Data, base: Base, tell: Callable[[Noted], None]) -> Run:
    model = TunedModel.on(base.loaded, spec)
    if data.largest_token_id >= model.vocabulary_size:
        raise base_model_unusable(
            f"its tokenizer makes the id {data.largest_token_id}, its embeddings end at "
            f"{model.vocabulary_size - 1}."
        )
    return Run(model, optimizer=spec.optimizer, seed=spec.seed, tell=tell)
