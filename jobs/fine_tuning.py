"""What a user can do with fine-tuning jobs."""

import secrets
import time
from collections.abc import Sequence
from functools import partial

from jobs import events
from jobs.job_requests import accept, integrations_of
from jobs.keys import Caller
from jobs.lifecycle import advance, is_terminal
from jobs.memory_check import refuse_long_examples, refuse_what_never_fits
from jobs.pausing import ask_to_pause, ask_to_resume
from jobs.services import Services
from jobs.store.idempotency import Attempt
from jobs.store.job_filter import JobFilter
from jobs.store.jobs import Outcome
from jobs.store.records import JobRecord, Plan
from schemas.base import CursorPage, Page, Schema
from schemas.errors import InvalidRequest
from schemas.fine_tuning import (
    MAX_SEED,
    Checkpoint,
    Event,
    EventKind,
    EventLevel,
    Job,
    JobPage,
    Method,
    ModelLimits,
    Supervised,
)
from schemas.fine_tuning_requests import JobCreate
from schemas.ids import new_id
from schemas.limits import UNLIMITED


class WatchedJob(Schema):
    """A job, and what its record says beyond it."""

    job: Job
    is_pausing: bool
    """Whether a pause was asked for that is not there yet."""
    started_at: int | None
    """When a worker first had it to train (Unix seconds); None: not yet."""
    newest_step: Event | None


async def create(
    services: Services, caller: Caller, request: JobCreate, *, attempt: Attempt | None = None
) -> Job:
    """Record a job and wake a worker. The job is safe once this returns, Redis or not.

    Where another try of the same request made a job already, return that one.

    Raises:
        InvalidRequest: The model is not offered, a file is not there or not for training, the
            request asks for what is not supported, or for more memory than any worker has.
    """
    accepted = await accept(services, caller, request)
    fit = await refuse_what_never_fits(services, request, accepted)
    await refuse_long_examples(services, request, fit)
    job_id = new_id("ftjob-")
    job = Job(
        id=job_id,
        created_at=int(time.time()),
        model=accepted.model,
        organization_id=caller.organization_id,
        status="validating_files",
        training_file=request.training_file,
        validation_file=request.validation_file,
        hyperparameters=accepted.hyperparameters,
        method=Method(supervised=Supervised(hyperparameters=accepted.hyperparameters)),
        seed=secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed,
        integrations=integrations_of(request, job_id=job_id),
        metadata=request.metadata,
        user_provided_suffix=request.suffix,
    )
    plan = Plan(suffix=accepted.suffix, init_adapter_id=accepted.init_adapter_id)
    record = JobRecord(job=job, project_id=caller.project_id, base=accepted.base, plan=plan)
    job = await services.store.jobs.add(record, [events.created(job.id)], attempt=attempt)
    await services.queue.kick(job.id)
    return job


async def list_jobs(
    services: Services,
    caller: Caller,
    *,
    after: str | None,
    limit: int,
    wanted: JobFilter,
    with_counts: bool = False,
) -> JobPage:
    """Return one page of the caller's jobs, newest first.

    Args:
        services: Open.
        caller: Whose.
        after: The id of the job before the page.
        limit: Of the page.
        wanted: Which jobs.
        with_counts: Whether to count them by status: those that are `wanted` but for their status.

    Raises:
        InvalidRequest: `after` is no job of the caller's.
    """
    records, project_id = services.store.jobs, caller.project_id
    page = await records.page(project_id=project_id, limit=limit, after=after, wanted=wanted)
    counts = None
    if with_counts:
        of_any_status = wanted.model_copy(update={"statuses": None})
        counts = await records.counts(project_id=project_id, wanted=of_any_status)
    return JobPage(data=page.data, has_more=page.has_more, counts=counts)


async def get(
    services: Services, caller: Caller, job_id: str, *, with_queue_position: bool = False
) -> Job:
    """Return a job of the caller's.

    Raises:
        JobNotFound: There is none of that id.
    """
    job = (await services.store.jobs.get(job_id, project_id=caller.project_id)).job
    return await _with_queue_position(services, job) if with_queue_position else job


async def watch(services: Services, caller: Caller, job_id: str) -> WatchedJob:
    """Return a job of the caller's with how far it is, its place in the queue included.

    Raises:
        JobNotFound: There is none of that id.
    """
    records = services.store.jobs
    record = await records.get(job_id, project_id=caller.project_id)
    started = await records.first_told(job_id, "started")
    steps = await records.events(job_id, limit=1, after=None, type="metrics")
    return WatchedJob(
        job=await _with_queue_position(services, record.job),
        is_pausing=record.is_pausing,
        started_at=None if started is None else started.created_at,
        newest_step=steps.data[0] if steps.data else None,
    )


async def cancel(services: Services, caller: Caller, job_id: str) -> Job:
    """Cancel a job; its worker notices within a second and frees the device.

    Raises:
        JobNotFound: There is none of that id.
        InvalidRequest: It is over already.
    """
    now = int(time.time())

    def change(record: JobRecord) -> Outcome:
        if is_terminal(record.job.status):
            raise InvalidRequest(
                f"Cannot cancel a fine-tuning job with status '{record.job.status}'."
            )
        job = advance(record.job, "cancelled", now=now)
        freed = record.model_copy(
            update={"job": job, "owner": None, "lease_until": 0.0, "is_pausing": False}
        )
        return Outcome(record=freed, events=[events.cancelled()])

    record = await services.store.jobs.change(job_id, change, project_id=caller.project_id)
    return record.job


async def pause(services: Services, caller: Caller, job_id: str) -> Job:
    """Pause a job: at once where nobody works on it, else as soon as its training is saved.

    Returns:
        The job as it is now: still `running` while its worker lets the trainer save.

    Raises:
        JobNotFound: There is none of that id.
        InvalidRequest: It is paused already, or over.
    """
    change = partial(ask_to_pause, now=time.time())
    record = await services.store.jobs.change(job_id, change, project_id=caller.project_id)
    return record.job


async def resume(services: Services, caller: Caller, job_id: str) -> Job:
    """Let a paused job go on from where it was saved, under its own id.

    Returns:
        The job, `queued`; or as it was, where its pause was still on its way and is taken back.

    Raises:
        JobNotFound: There is none of that id.
        InvalidRequest: It is neither paused nor about to be.
    """
    record = await services.store.jobs.change(job_id, ask_to_resume, project_id=caller.project_id)
    await services.queue.kick(job_id)
    return record.job


async def model_limits(services: Services, caller: Caller) -> dict[str, ModelLimits]:
    """Return how many jobs the caller's project may have and has, by base."""
    quotas = await services.store.limits.quotas(caller.project_id)
    active = await services.store.jobs.active(project_id=caller.project_id)
    most = quotas.max_concurrent_jobs
    return {
        base.name: ModelLimits(
            max_total_jobs=UNLIMITED,
            max_concurrent_jobs=UNLIMITED if most is None else most,
            active_jobs=active.get(base.name, 0),
        )
        for base in services.catalog.all()
        if base.task == "generate"
    }


async def list_events(
    services: Services,
    caller: Caller,
    job_id: str,
    *,
    after: str | None,
    limit: int,
    type: EventKind | None = None,
    levels: Sequence[EventLevel] | None = None,
) -> Page[Event]:
    """Return one page of a job's events, newest first.

    Args:
        services: Open.
        caller: Who asks.
        job_id: Theirs.
        after: The id of the event before the page.
        limit: Of the page.
        type: Only events of it: what the job says, or what it measured.
        levels: Only events of these.

    Raises:
        JobNotFound: There is no such job.
        InvalidRequest: `after` is no event of the job's.
    """
    await get(services, caller, job_id)
    return await services.store.jobs.events(
        job_id, limit=limit, after=after, type=type, levels=levels
    )


async def list_checkpoints(
    services: Services, caller: Caller, job_id: str, *, after: str | None, limit: int
) -> CursorPage[Checkpoint]:
    """Return one page of a job's checkpoints, the highest step first.

    Raises:
        JobNotFound: There is no such job.
        InvalidRequest: `after` is no checkpoint of the job's.
    """
    await get(services, caller, job_id)
    return await services.store.jobs.checkpoints(job_id, limit=limit, after=after)


async def _with_queue_position(services: Services, job: Job) -> Job:
    if job.status != "queued":
        return job
    before = await services.store.jobs.waiting_before(job.id)
    return job.model_copy(update={"queue_position": before})
