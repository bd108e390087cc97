"""The training of one claimed job: from `auto` to numbers, through the trainer, to a published model."""

import asyncio
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from jobs import events
from jobs.claims import Claim
from jobs.early_baseline import open_early_baseline
from jobs.holding_out import count_held_out, hold_out
from jobs.hyperparameters import Resolved, TrainingFile, resolve
from jobs.job_usage import device_time_counted
from jobs.lora_layers import layers_of
from jobs.proving import EarlyAdapter, open_early_adapter
from jobs.publishing import publish, publish_checkpoint
from jobs.spare_trainer import SpareTrainer
from jobs.store.jobs import NewEvent, Outcome
from jobs.store.records import JobRecord
from jobs.tokens_at_once import TokensAtOnce, halve_after_kill
from jobs.trainer import (
    Trainer,
    TrainerDied,
    TrainerLeft,
    TrainerNeedsLess,
    TrainerOutOfMemory,
    start_trainer,
)
from jobs.trainer_process import trainer_module, trainer_threads
from jobs.wandb_mirror import Mirror, mirrored
from schemas.bases import BaseModelInfo
from schemas.errors import FileNotFound, JobFailure
from schemas.fine_tuning import Method, Supervised
from schemas.training import (
    DIVERGED,
    AdapterSaved,
    BestSaved,
    CheckpointSaved,
    ModelChosen,
    Noted,
    StepDone,
    TrainingDone,
    TrainingEvent,
    TrainingFailed,
    TrainingSpec,
    TrainingStarted,
)

logger = logging.getLogger(__name__)

PUBLIC_CHECKPOINTS: Final = 3
"""OpenAI keeps the last three epochs."""
_FLUSH_EVERY: Final = 1.0
_STOP_GRACE: Final = 20.0


async def train(claim: Claim, *, spare: SpareTrainer | None = None) -> None:
    """Train a claimed job and publish its model.

    Args:
        claim: Of the job.
        spare: May have a trainer that has warmed up.

    Raises:
        JobFailure: It cannot be trained, or what was trained does not act.
        TrainerNeedsLess: The trainer was ended for memory; another attempt takes less of it.
        TrainerDied: The trainer was killed; another attempt goes on from its last resume point.
        TrainerLeft: It saved one and went, because the user wants a pause.
        ModelServerUnavailable: The engine did not come up to prove the model.
        Fenced: The job is no longer ours.
    """
    services, record = claim.services, claim.record
    base = claim.base()
    await services.engines.want(base)
    asked = record.job.hyperparameters
    held_out = count_held_out(record.plan.n_examples, asked.validation_split)
    resolved = resolve(
        asked,
        TrainingFile(
            n_examples=record.plan.n_examples - held_out,
            n_trained_tokens=record.plan.n_trained_tokens,
        ),
        base,
        layers=await asyncio.to_thread(layers_of, base.directory),
        max_rank=services.settings.max_lora_rank,
        goes_on=record.plan.init_adapter_id is not None,
    )
    await claim.change(lambda record: _with_numbers(record, resolved))
    work_dir = services.blobs.work_dir(claim.job_id)
    spec = await _spec(claim, base, resolved, work_dir)
    async with (
        mirrored(claim) as mirror,
        open_early_baseline(services.engines, base, work_dir) as baseline,
        open_early_adapter(claim, base, baseline) as early,
    ):
        log = _StepLog(claim, mirror, when_started=baseline.begin)
        chosen, done = await _trained(claim, spec, log, early, spare=spare)
        logger.info("trained: job_id=%s", claim.job_id)
        model = await publish(claim, base, chosen, done, baseline=baseline, early=early)
        mirror.succeeded(model)
    await services.blobs.delete_work_dir(claim.job_id)


async def _trained(
    claim: Claim,
    spec: TrainingSpec,
    log: "_StepLog",
    early: EarlyAdapter,
    *,
    spare: SpareTrainer | None,
) -> tuple[ModelChosen, TrainingDone]:
    """Run the trainer to its end; return its final adapter and totals."""
    async with (
        device_time_counted(claim),
        start_trainer(
            spec,
            log_path=spec.work_dir / "trainer.log",
            module=trainer_module(spec),
            spare=spare,
        ) as trainer,
    ):
        try:
            with claim.on_pause(trainer.ask_to_go):
                models = _Models(claim, n_epochs=spec.n_epochs)
                return await _follow(trainer, log, models, early)
        except TrainerOutOfMemory as exc:
            less = await asyncio.to_thread(halve_after_kill, spec.work_dir)
            if less is None:
                raise
            raise TrainerNeedsLess(f"{exc} {_in_words(less)}") from exc
        except asyncio.CancelledError:
            # Told to stop: save and go on elsewhere. Cancelled: the device at once.
            await trainer.stop(grace=0 if claim.is_lost else _STOP_GRACE)
            raise


async def _follow(
    trainer: Trainer, log: "_StepLog", models: "_Models", early: EarlyAdapter
) -> tuple[ModelChosen, TrainingDone]:
    """Write down what the trainer reports; return its final adapter and totals."""
    try:
        async for event in trainer.events():
            await log.catch_up(event)
            match event:
                case StepDone():
                    await log.add(event)
                case TrainingStarted() | Noted():
                    await log.note(event)
                case AdapterSaved():
                    early.begin(event)
                case CheckpointSaved() | BestSaved():
                    await models.keep(event)
                case ModelChosen():
                    await models.choose(event)
                case TrainingDone():
                    await log.tell_cost(event)
                    return await models.chosen(), event
                case TrainingFailed():
                    raise await models.failed(event)
    except (TrainerLeft, TrainerDied):
        await log.flush()  # a paused job shows every step that it has taken
        raise
    raise AssertionError("Trainer.events() ends with done or failed, or raises")


def _in_words(less: TokensAtOnce) -> str:
    if less.tokens < less.longest:
        return (
            f"The longest example, of {less.longest:,} tokens, ran alone: the next attempt computes "
            "intermediate results twice instead of keeping them. What is learned stays the same."
        )
    return (
        f"The next attempt runs at most {less.tokens:,} tokens at once. What is learned stays the same, the "
        "batch size too."
    )


class _Models:
    """What the trainer has saved: the last epochs' are published, whichever is the final model."""

    def __init__(self, claim: Claim, *, n_epochs: int) -> None:
        self._claim = claim
        self._n_epochs = n_epochs
        self._saved: dict[int, CheckpointSaved] = {}
        self._best: BestSaved | None = None
        self._chosen: ModelChosen | None = None

    async def keep(self, saved: CheckpointSaved | BestSaved) -> None:
        """Publish an epoch's checkpoint, where it is one of the last for sure; remember which is the best."""
        if isinstance(saved, BestSaved):
            self._best = saved
            return
        self._saved[saved.epoch] = saved
        if self._n_epochs - PUBLIC_CHECKPOINTS < saved.epoch < self._n_epochs:
            await publish_checkpoint(self._claim, saved)

    async def failed(self, event: TrainingFailed) -> JobFailure:
        """Return what a job fails with; where it diverged, the best model before that is published first."""
        best = self._best if event.code == DIVERGED else None
        if best is None:
            return JobFailure(event.message, code=event.code)
        try:
            await publish_checkpoint(self._claim, best)
        except JobFailure as failure:
            logger.warning("not fit to be kept: job_id=%s %s", self._claim.job_id, failure)
            return JobFailure(event.message, code=event.code)
        kept = (
            f"The best model before that, of step {best.step} with a validation loss of "
            f"{best.valid_loss:.4f}, is kept: it is a checkpoint of the job and can be asked."
        )
        return JobFailure(f"{event.message} {kept}", code=event.code)

    async def choose(self, chosen: ModelChosen) -> None:
        """Say which is the final one, where that is worth saying."""
        self._chosen = chosen
        if chosen.message is not None:
            await self._claim.log(events.noted("chosen", chosen.message))

    async def chosen(self) -> ModelChosen:
        """Publish the last epochs' that are not yet, and return the final model, which is the caller's.

        Only now is it known which these are: a run may stop early, and its last model need not be
        the one that was chosen.
        """
        assert self._chosen is not None, "a trainer chooses its model before it is done"
        for epoch in sorted(self._saved)[-PUBLIC_CHECKPOINTS:]:
            if self._saved[epoch].step != self._chosen.step:
                await publish_checkpoint(self._claim, self._saved[epoch])
        return self._chosen


class _StepLog:
    """Collects steps and writes them at most once a second, with an estimate of the end."""

    def __init__(self, claim: Claim, mirror: Mirror, *, when_started: Callable[[], None]) -> None:
        self._claim = claim
        self._mirror = mirror
        self._when_started = when_started
        self._pending: list[NewEvent] = []
        self._flushed = 0.0
        self._seconds_a_step = 0.0
        self._finish: int | None = None
        self._tokens = 0
        self._seconds = 0.0

    async def add(self, step: StepDone) -> None:
        self._pending.append(events.step_done(step))
        self._tokens += step.tokens
        self._seconds += step.seconds
        smooth = 0.9 if self._seconds_a_step else 0.0
        self._seconds_a_step = smooth * self._seconds_a_step + (1 - smooth) * step.seconds
        left = (step.total_steps - step.step) * self._seconds_a_step
        self._finish = int(time.time() + left) + 1
        if time.monotonic() - self._flushed >= _FLUSH_EVERY:
            await self.flush()

    async def catch_up(self, event: TrainingEvent) -> None:
        """Write down the steps before what shows their numbers, such as a checkpoint."""
        if not isinstance(event, StepDone | AdapterSaved):
            await self.flush()

    async def flush(self) -> None:
        if not self._pending:
            return
        pending, finish = tuple(self._pending), self._finish
        self._pending.clear()

        def change(record: JobRecord) -> Outcome:
            job = record.job.model_copy(update={"estimated_finish": finish})
            return Outcome(record=record.model_copy(update={"job": job}), events=pending)

        await self._claim.change(change)
        self._mirror.add(new.event for new in pending)
        self._flushed = time.monotonic()

    async def note(self, event: TrainingStarted | Noted) -> None:
        """Write down what is no step."""
        if isinstance(event, Noted):
            told = events.noted(event.key, event.message, level=event.level)
        else:
            told = _note_start(self._claim, event)
            self._when_started()
            logger.info("trainer ready: job_id=%s", self._claim.job_id)
        await self._claim.log(told)

    async def tell_cost(self, done: TrainingDone) -> None:
        """Write down how fast this trainer was and what it held: what the next job's dry run estimates from."""
        if self._seconds > 0:
            await self._claim.log(
                events.trained(
                    tokens_per_second=self._tokens / self._seconds,
                    peak_memory_bytes=done.peak_memory_bytes,
                )
            )


def _with_numbers(record: JobRecord, resolved: Resolved) -> Outcome:
    asked = record.job.hyperparameters
    numbers = resolved.shown(asked)
    method = Method(supervised=Supervised(hyperparameters=numbers))
    job = record.job.model_copy(update={"hyperparameters": numbers, "method": method})
    told = events.noted(
        "hyperparameters",
        f"Training for {resolved.n_epochs} epoch(s), {resolved.batch_size} example(s) a step, "
        f"learning rate {resolved.learning_rate:.2g}: {' '.join(resolved.reasons)}",
        learning_rate=resolved.learning_rate,
        **resolved.in_full(asked).model_dump(),
    )
    warned = [
        events.noted(f"hyperparameters-{number}", warning, level="warn")
        for number, warning in enumerate(resolved.warnings)
    ]
    return Outcome(record=record.model_copy(update={"job": job}), events=[told, *warned])


def _note_start(claim: Claim, event: TrainingStarted) -> NewEvent:
    if event.resumed_at_step:
        message = f"Going on after step {event.resumed_at_step}/{event.total_steps}"
    else:
        message = f"Training {event.n_trainable_parameters:,} parameters on {event.device}"
    return events.noted(f"trainer-{claim.record.attempt}", message)


async def _spec(
    claim: Claim, base: BaseModelInfo, resolved: Resolved, work_dir: Path
) -> TrainingSpec:
    record, services = claim.record, claim.services
    training_path, validation_path = await _files(claim, work_dir)
    return TrainingSpec(
        base_dir=base.directory,
        base_name=base.name,
        base_digest=base.digest,
        training_path=training_path,
        validation_path=validation_path,
        init_adapter_dir=await _initial_adapter(claim, work_dir),
        work_dir=work_dir,
        n_epochs=resolved.n_epochs,
        batch_size=resolved.batch_size,
        learning_rate=resolved.learning_rate,
        seed=record.job.seed,
        context_length=base.context_length,
        lora=resolved.lora,
        optimizer=resolved.optimizer,
        early_stopping=record.job.hyperparameters.early_stopping,
        n_threads=trainer_threads(services.settings),
        n_processes=services.settings.trainer_processes,
        is_sharded=services.settings.trainer_sharded,
        resume_every_seconds=services.settings.resume_every_seconds,
        reported_step=await services.store.jobs.last_step(claim.job_id),
    )


async def _files(claim: Claim, work_dir: Path) -> tuple[Path, Path | None]:
    """Return what is trained on, and what is measured on."""
    job = claim.record.job
    training = await _readable(claim, job.training_file, param="training_file")
    share = job.hyperparameters.validation_split
    if share is not None:
        return await asyncio.to_thread(
            hold_out,
            training,
            work_dir / "split",
            n_examples=claim.record.plan.n_examples,
            share=share,
            seed=job.seed,
        )
    if job.validation_file is None:
        return training, None
    return training, await _readable(claim, job.validation_file, param="validation_file")


async def _readable(claim: Claim, file_id: str, *, param: str) -> Path:
    try:
        await claim.services.store.files.get(file_id, project_id=claim.record.project_id)
    except FileNotFound as exc:
        raise JobFailure(
            f"The file {file_id} was deleted before the job had read it.",
            code=f"invalid_{param}",
            param=param,
        ) from exc
    return claim.services.blobs.file_path(file_id)


async def _initial_adapter(claim: Claim, work_dir: Path) -> Path | None:
    """Copy the adapter to go on from: its model may be deleted while we train."""
    adapter_id = claim.record.plan.init_adapter_id
    if adapter_id is None:
        return None
    copy = work_dir / "initial"
    if copy.is_dir():
        return copy
    source = claim.services.blobs.adapter_dir(adapter_id)
    unfinished = work_dir / "initial.part"
    await asyncio.to_thread(shutil.rmtree, unfinished, ignore_errors=True)
    try:
        await asyncio.to_thread(shutil.copytree, source, unfinished)
    except FileNotFoundError as exc:
        raise JobFailure(
            f"The model '{claim.record.job.model}' was deleted before it could be trained further.",
            code="model_not_available",
            param="model",
        ) from exc
    unfinished.rename(copy)
    return copy
