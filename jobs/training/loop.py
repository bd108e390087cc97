"""The training loop: from a spec to adapters, on one screen."""

from collections.abc import Callable
from functools import partial

from jobs.training.base import Base
from jobs.training.checkpoints import Checkpoints
from jobs.training.data import Data
from jobs.training.failures import base_model_unusable
from jobs.training.group import ALONE, Group
from jobs.training.journal import Journal
from jobs.training.lookout import Lookout
from jobs.training.milestones import Milestones
from jobs.training.model import TunedModel
from jobs.training.plan import Plan
from jobs.training.process import Preempted, Preemption
from jobs.training.proof import Prover
from jobs.training.reports import Reports
from jobs.training.resuming import ResumePoints
from jobs.training.room import Room
from jobs.training.run import Run
from schemas.training import Noted, TrainingEvent, TrainingSpec


def train(
    spec: TrainingSpec,
    *,
    emit: Callable[[TrainingEvent], None],
    preemption: Preemption,
    base: Base | None = None,
    group: Group = ALONE,
) -> None:
    """Train what the spec says, from where an earlier process left off.

    Args:
        spec: Its `work_dir` may hold resume points of the same run.
        emit: Takes each event as it happens. A step since the last resume point may be told twice.
        preemption: Looked at after each step.
        base: The spec's, where it was warmed up ahead.
        group: The processes that train together. The first one alone writes files; each emits.

    Raises:
        JobFailure: Training cannot go on; says why.
        Preempted: The process was asked to go; a resume point is on disk.
    """
    journal = Journal.of(spec, is_writer=group.is_first)
    tell = partial(journal.tell, emit)
    base = base or Base(spec.base_dir)
    data = Data.load(spec, base.renderer)
    run = _fresh_run(spec, data, base, group, tell)
    plan = Plan.of(spec, n_examples=len(data.training), n_validation=len(data.validation or ()))
    points = ResumePoints.of(spec)
    with group.in_turn():
        points.restore(run)
        prover = Prover.of(spec, data, run.model.layout)
        checkpoints = Checkpoints.of(spec, after_step=run.step, prover=prover)
        is_open = plan.is_milestone(run.step)  # it is closed after its resume point
        told = journal.rewind(to_step=run.step, is_open=is_open)
    reports = Reports(run, plan=plan, data=data, preemption=preemption)
    milestones = Milestones(run, plan=plan, reports=reports, checkpoints=checkpoints, tell=tell)
    lookout = Lookout(run, data, plan)

    emit(reports.started())
    for event in told:
        emit(event)
    lookout.begin()
    preemption.defer()
    if is_open:
        milestones.close()
    for step, examples in plan.batches(after=run.step):
        if run.course.is_exhausted(spec.early_stopping):
            break
        run.take_step(data.training.batch(examples), learning_rate=plan.learning_rate(step))
        lookout.look()
        is_milestone = plan.is_milestone(step)
        if not is_milestone:
            tell(reports.step())
        # Before a milestone is closed: what was told of it then never changes.
        is_leaving = group.any(flag=preemption.requested)
        milestones.hand_over()
        if is_milestone or points.is_due or is_leaving:
            points.save(run)
        if is_leaving:
            raise Preempted
        if is_milestone:
            milestones.close()
    lookout.end()
    for ending in milestones.ending():
        emit(ending)
    emit(reports.done())


def _fresh_run(
    spec: TrainingSpec, data: Data, base: Base, group: Group, tell: Callable[[Noted], None]
) -> Run:
    if group.is_sharded:
        # Only now: it takes long to import, and few need it.
        from jobs.training.sharding import load_sharded  # noqa: PLC0415

        model = load_sharded(spec)
    else:
        model = TunedModel.on(base.loaded, spec)
    if data.largest_token_id >= model.vocabulary_size:
        raise base_model_unusable(
            f"its tokenizer makes the id {data.largest_token_id}, its embeddings end at "
            f"{model.vocabulary_size - 1}."
        )
    room = Room.of(spec, model, data.training, tell=tell, group=group)
    return Run(model, optimizer=spec.optimizer, seed=spec.seed, tell=tell, room=room, group=group)
