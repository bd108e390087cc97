"""The worker: finds jobs that wait, claims them, sees them through, and says how they ended."""

import asyncio
import logging
import os
import platform
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from arq import ArqRedis, func
from arq import Worker as ArqWorker
from arq.worker import Function
from redis.exceptions import RedisError

from jobs import events
from jobs.batch_run import BatchRunner
from jobs.claims import LEASE, Claim, held
from jobs.housekeeping import tidy
from jobs.lifecycle import advance
from jobs.memory_fit import trainer_memory
from jobs.pausing import pause
from jobs.queue import KICK, from_bytes, open_pool, to_bytes
from jobs.reports.runner import ReportRunner
from jobs.services import Services
from jobs.spare_trainer import SpareTrainer
from jobs.store.batches import BatchRecord
from jobs.store.jobs import Outcome
from jobs.store.records import Fenced, JobRecord, WorkerRecord
from jobs.trainer import TrainerDied, TrainerLeft, TrainerNeedsLess, TrainerOutOfMemory
from jobs.trainer_process import warm_up_for
from jobs.training_run import train
from jobs.validation import validate
from jobs.webhooks.deliveries import Deliveries
from schemas.errors import ApiError, JobFailure
from schemas.fine_tuning import JobError
from schemas.ids import new_id
from schemas.training import WarmUp

logger = logging.getLogger(__name__)

MAX_INFRA_FAILURES: Final = 5
"""How often a job is taken up again after something of ours broke."""
_SWEEP_EVERY: Final = 1.0
_BEAT_EVERY: Final = 5.0
_TIDY_EVERY: Final = 60.0
_BACKOFF: Final = 5.0
_WARM_UP_AFTER: Final = 3.0
"""Seconds from a job's end: whoever waited for it asks its model now, and five CPU-seconds would be in the way."""
_MAX_BACKOFF: Final = 120.0

_INTERNAL: Final = JobFailure("The job failed due to an internal error.", code="server_error")
_TOO_LARGE: Final = JobFailure(
    "The base model does not fit into what this worker's machine has left of its memory. Choose a smaller "
    "base, or give the worker more memory.",
    code="out_of_memory",
)

Work = Callable[[Claim], Awaitable[None]]


class Worker:
    """One worker process: a slot for validation, and one for each training at a time."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._id = new_id("worker-")
        self._host = platform.node()
        self._free = {"validation": 1, "training": services.settings.worker_jobs}
        settings = services.settings
        self._spare = SpareTrainer(
            settings.data_dir / "logs" / "spare-trainer.log",
            is_wanted=settings.warm_trainer and settings.trainer_processes == 1,
        )
        self._trainer_memory = trainer_memory(n_processes=settings.trainer_processes)
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Work until cancelled; what is under way is then saved and given back."""
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._beat())
                self._group.create_task(self._sweep())
                self._group.create_task(self._spare.watch())
                self._group.create_task(self._warm_up_as_before())
                self._group.create_task(self._listen())
                self._group.create_task(self._tidy())
                self._group.create_task(BatchRunner(self._services, owner=self._id).run())
                self._group.create_task(ReportRunner(self._services, owner=self._id).run())
                self._group.create_task(Deliveries(self._services).run())
        finally:
            await self._services.store.machines.forget_worker(self._id)

    async def look(self, job_id: str) -> None:
        """Take a job if it waits and there is room; what fails here, the sweep does later."""
        try:
            if not await self._take(job_id, validating=True):
                await self._take(job_id, validating=False)
        except (OSError, ApiError) as exc:
            logger.warning("left to the sweep: job_id=%s %r", job_id, exc)

    async def _take(self, job_id: str, *, validating: bool) -> bool:
        slot, work = (
            ("validation", validate)
            if validating
            else ("training", partial(train, spare=self._spare))
        )
        if self._free[slot] == 0:
            return False
        self._free[slot] -= 1
        try:
            record = await self._services.store.jobs.claim(
                job_id,
                _begin_validation if validating else _begin_training,
                owner=self._id,
                validating=validating,
                now=time.time(),
                lease=LEASE,
            )
        except BaseException:
            self._free[slot] += 1
            raise
        if record is None:
            self._free[slot] += 1
            return False
        assert self._group is not None
        self._group.create_task(self._work(Claim(self._services, record), slot, work))
        if validating:
            # Beside the look at its files, which may take long.
            prepare = self._spare.prepare_if_none_waits
            self._group.create_task(self._warm_up(record.base, prepare))
        return True

    async def _work(self, claim: Claim, slot: str, work: Work) -> None:
        try:
            await see_through(claim, work)
        except (OSError, ApiError) as exc:
            # The end could not be written down. The lease will run out, and the sweep find the job.
            logger.warning("left to its lease: job_id=%s %r", claim.job_id, exc)
            return
        finally:
            self._free[slot] += 1
        if slot == "validation":
            # What was just validated can be trained at once, without a word from Redis.
            await self.look(claim.job_id)
        else:
            await asyncio.sleep(_WARM_UP_AFTER)
            await self._warm_up(claim.record.base, self._spare.prepare)

    async def _warm_up_as_before(self) -> None:
        """Expect the next job on the base of the last one."""
        try:
            newest = await self._services.store.jobs.newest_base()
            await self._warm_up(newest, self._spare.prepare)
        except (OSError, ApiError) as exc:
            logger.warning("no trainer is kept warm: %r", exc)

    async def _warm_up(
        self, base_name: str | None, prepare: Callable[[WarmUp], Awaitable[None]]
    ) -> None:
        """Have a trainer wait for the next job on a base, unless one trains, which needs the processor."""
        base = self._services.catalog.find(base_name) if base_name else None
        if base is not None and self._free["training"] == self._services.settings.worker_jobs:
            await prepare(warm_up_for(base, self._services.settings))

    async def _sweep(self) -> None:
        """Find work that no message told of: SQL is the truth."""
        jobs = self._services.store.jobs
        while True:
            try:
                await self._free_jobs_of_the_dead()
                await self._pause_jobs_of_the_dead()
                for validating in (True, False):
                    for record in await jobs.claimable(validating=validating, now=time.time()):
                        if not await self._take(record.job.id, validating=validating):
                            break
            except (OSError, ApiError) as exc:
                logger.warning("sweep failed, trying again: %r", exc)
            await asyncio.sleep(_SWEEP_EVERY)

    async def _free_jobs_of_the_dead(self) -> None:
        """Take back at once what a killed worker of this very machine held."""
        jobs, batches = self._services.store.jobs, self._services.store.batches
        for record in await jobs.held():
            if await self._holder_is_dead(record):
                await jobs.expire_lease(record.job.id, attempt=record.attempt)
        for held_batch in await batches.held():
            if await self._holder_is_dead(held_batch):
                await batches.expire_lease(held_batch.batch.id, attempt=held_batch.attempt)

    async def _holder_is_dead(self, record: JobRecord | BatchRecord) -> bool:
        if record.owner in {None, self._id} or record.lease_until < time.time():
            return False
        owner = await self._services.store.machines.find_worker(record.owner or "")
        return owner is not None and owner.host == self._host and not _is_alive(owner.pid)

    async def _pause_jobs_of_the_dead(self) -> None:
        """Pause what was asked to while the worker that had it died."""
        jobs, now = self._services.store.jobs, time.time()
        for job_id in await jobs.pausing_alone(now=now):
            await jobs.change(job_id, partial(_paused_if_free, now=now))

    async def _beat(self) -> None:
        machines = self._services.store.machines
        while True:
            now = time.time()
            try:
                await machines.beat(
                    WorkerRecord(
                        id=self._id,
                        host=self._host,
                        pid=os.getpid(),
                        seen_at=now,
                        trainer=self._trainer_memory,
                    )
                )
            except (OSError, ApiError) as exc:
                logger.warning("no sign of life could be given: %r", exc)
            await asyncio.sleep(_BEAT_EVERY)

    async def _tidy(self) -> None:
        while True:
            try:
                await tidy(self._services, now=int(time.time()))
            except (OSError, ApiError) as exc:
                logger.warning("what is over stays a while: %r", exc)
            await asyncio.sleep(_TIDY_EVERY)

    async def _listen(self) -> None:
        """Hear arq's wake-ups; when Redis goes away, wait for it to come back."""

        # arq fixes these names.
        async def kick(ctx: dict[Any, Any], *args: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG001
            for job_id in args:
                await self.look(job_id)

        while True:
            try:
                async with open_pool(self._services.settings.effective_redis_url) as pool:
                    await _run_arq(
                        func(kick, name=KICK, timeout=20, keep_result=0, max_tries=1), pool
                    )
            except (RedisError, OSError, TimeoutError) as exc:
                logger.warning("Redis is away, the sweep goes on: %r", exc)
            await asyncio.sleep(_SWEEP_EVERY)


async def see_through(claim: Claim, work: Work) -> None:
    """Do `work` for a claimed job and write how it ended; never leave the job hanging."""
    try:
        async with held(claim):
            await work(claim)
    except Fenced:
        logger.info("no longer ours: job_id=%s", claim.job_id)
    except JobFailure as failure:
        await _if_ours(claim, partial(_failed, failure=failure))
    except TrainerLeft:
        await _if_ours(claim, _given_back)
    except TrainerNeedsLess as exc:
        logger.warning("will be taken up with less: job_id=%s %r", claim.job_id, exc)
        await _if_ours(claim, partial(_with_less, reason=str(exc)))
    except (TrainerDied, ApiError, OSError) as exc:
        logger.warning("will be taken up again: job_id=%s %r", claim.job_id, exc)
        in_the_end = _TOO_LARGE if isinstance(exc, TrainerOutOfMemory) else _INTERNAL
        await _if_ours(claim, partial(_again, reason=str(exc), in_the_end=in_the_end))
    except asyncio.CancelledError:
        # We are told to stop: another worker may go on at once.
        await _if_ours(claim, _given_back)
        raise
    except Exception:
        # The worker's edge: whatever broke, the user's job must not hang in "running".
        logger.exception("unexpected: job_id=%s", claim.job_id)
        await _if_ours(claim, partial(_again, reason="The worker had an error."))


async def _if_ours(claim: Claim, change: Callable[[JobRecord], Outcome]) -> None:
    try:
        await claim.change(change)
    except Fenced:
        logger.info("no longer ours: job_id=%s", claim.job_id)


def _begin_validation(record: JobRecord) -> Outcome:
    job = record.job
    return Outcome(
        record=record, events=[events.validating(job.training_file, job.validation_file)]
    )


def _begin_training(record: JobRecord) -> Outcome:
    if record.job.status == "running":
        return Outcome(record=record)
    job = advance(record.job, "running", now=int(time.time()))
    return Outcome(record=record.model_copy(update={"job": job}), events=[events.started()])


def _failed(record: JobRecord, *, failure: JobFailure) -> Outcome:
    job = advance(record.job, "failed", now=int(time.time()))
    error = JobError(code=failure.code, message=failure.message, param=failure.param)
    job = job.model_copy(update={"error": error})
    return Outcome(record=_released(record, job=job), events=[events.failed(failure.message)])


def _with_less(record: JobRecord, *, reason: str) -> Outcome:
    """Go on from the last resume point at once: no failure of ours, and of less there is an end."""
    told = events.noted(f"memory-kill-{record.attempt}", reason, level="warn")
    if _can_pause(record):
        paused = pause(record, now=time.time())
        return Outcome(record=paused.record, events=[told, *paused.events])
    return Outcome(record=_released(record), events=[told])


def _again(record: JobRecord, *, reason: str, in_the_end: JobFailure = _INTERNAL) -> Outcome:
    """Try again later from the last resume point, or give up after too many times."""
    if _can_pause(record):
        return pause(record, now=time.time())
    failures = record.infra_failures + 1
    if failures > MAX_INFRA_FAILURES:
        words = f"{in_the_end.message} {reason} It was tried {failures} times."
        return _failed(record, failure=JobFailure(words, code=in_the_end.code))
    delay = min(_MAX_BACKOFF, _BACKOFF * 2 ** (failures - 1))
    record = _released(record, infra_failures=failures, next_run_at=time.time() + delay)
    told = events.noted(
        f"again-{record.attempt}",
        f"{reason} Going on from the last resume point in {delay:.0f} s.",
        level="warn",
    )
    return Outcome(record=record, events=[told])


def _given_back(record: JobRecord) -> Outcome:
    """Let another worker go on, or nobody where the user wants a pause."""
    if _can_pause(record):
        return pause(record, now=time.time())
    return Outcome(record=_released(record))


def _paused_if_free(record: JobRecord, *, now: float) -> Outcome:
    is_free = record.owner is None or record.lease_until < now
    if is_free and record.job.status in {"queued", "running"} and record.is_pausing:
        return pause(record, now=now)
    return Outcome(record=record)  # another was faster


def _can_pause(record: JobRecord) -> bool:
    # A file that nobody has looked at is looked at first.
    return record.is_pausing and record.job.status != "validating_files"


def _released(record: JobRecord, **update: object) -> JobRecord:
    return record.model_copy(update={"owner": None, "lease_until": 0.0, **update})


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


async def _run_arq(function: Function, pool: ArqRedis) -> None:
    worker = ArqWorker(
        [function],
        redis_pool=pool,
        job_serializer=to_bytes,
        job_deserializer=from_bytes,
        handle_signals=False,
        poll_delay=0.2,
        health_check_interval=5,
        log_results=False,
    )
    try:
        await worker.main()
    finally:
        # Not `Worker.close`: it waits on Redis, which may be what went away.
        for task in worker.tasks.values():
            task.cancel()
        await asyncio.gather(*worker.tasks.values(), return_exceptions=True)
