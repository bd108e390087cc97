"""What a user can do with fine-tuning jobs."""

import re
import secrets
import time
from functools import partial

from jobs import events
from jobs.keys import Caller
from jobs.lifecycle import advance, is_terminal
from jobs.pausing import ask_to_pause, ask_to_resume
from jobs.services import Services
from jobs.store.jobs import Outcome
from jobs.store.records import JobRecord, Plan
from schemas.base import CursorPage, Page
from schemas.errors import FileNotFound, InvalidRequest
from schemas.fine_tuning import (
    MAX_SEED,
    Checkpoint,
    Event,
    Hyperparameters,
    HyperparametersRequest,
    Job,
    JobCreate,
    Method,
    Supervised,
)
from schemas.ids import TunedModelName, new_id

_MAX_SUFFIX = 64


async def create(services: Services, caller: Caller, request: JobCreate) -> Job:
    """Record a job and wake a worker. The job is safe once this returns, Redis or not.

    Raises:
        InvalidRequest: The model is not offered, a file is not there or not for training, or
            the request asks for what is not supported.
    """
    _refuse_unsupported(request)
    base, init_adapter_id, model = await _starting_point(services, caller, request.model)
    await _check_file(services, caller, request.training_file, param="training_file")
    if request.validation_file is not None:
        await _check_file(services, caller, request.validation_file, param="validation_file")
    hyperparameters = _asked_hyperparameters(request)
    job = Job(
        id=new_id("ftjob-"),
        created_at=int(time.time()),
        model=model,
        organization_id=caller.organization_id,
        status="validating_files",
        training_file=request.training_file,
        validation_file=request.validation_file,
        hyperparameters=hyperparameters,
        method=Method(supervised=Supervised(hyperparameters=hyperparameters)),
        seed=secrets.randbelow(MAX_SEED + 1) if request.seed is None else request.seed,
        metadata=request.metadata,
        user_provided_suffix=request.suffix,
    )
    plan = Plan(suffix=clean_suffix(request.suffix), init_adapter_id=init_adapter_id)
    record = JobRecord(job=job, project_id=caller.project_id, base=base, plan=plan)
    await services.store.jobs.add(record, [events.created(job.id)])
    await services.queue.kick(job.id)
    return job


async def list_jobs(
    services: Services,
    caller: Caller,
    *,
    after: str | None,
    limit: int,
    metadata: dict[str, str] | None,
) -> Page[Job]:
    """Return one page of the caller's jobs, newest first.

    Raises:
        InvalidRequest: `after` is no job of the caller's.
    """
    return await services.store.jobs.page(
        project_id=caller.project_id, limit=limit, after=after, metadata=metadata
    )


async def get(services: Services, caller: Caller, job_id: str) -> Job:
    """Return a job of the caller's.

    Raises:
        JobNotFound: There is none of that id.
    """
    return (await services.store.jobs.get(job_id, project_id=caller.project_id)).job


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


async def list_events(
    services: Services, caller: Caller, job_id: str, *, after: str | None, limit: int
) -> Page[Event]:
    """Return one page of a job's events, newest first.

    Raises:
        JobNotFound: There is no such job.
        InvalidRequest: `after` is no event of the job's.
    """
    await get(services, caller, job_id)
    return await services.store.jobs.events(job_id, limit=limit, after=after)


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


def clean_suffix(suffix: str | None) -> str:
    """Return the suffix as it stands in the model's name: lower case, others than `a-z0-9-_` as `-`.

    Raises:
        InvalidRequest: Nothing is left of it.
    """
    if suffix is None:
        return ""
    clean = re.sub(r"[^a-z0-9_-]", "-", suffix.lower())[:_MAX_SUFFIX]
    if not clean.strip("-"):
        raise InvalidRequest(
            f"Invalid 'suffix': '{suffix}' has no letter or digit (a-z, 0-9) to name a model by.",
            param="suffix",
            code="invalid_value",
        )
    return clean


def _refuse_unsupported(request: JobCreate) -> None:
    if request.method is not None and request.method.type != "supervised":
        raise InvalidRequest(
            f"Unsupported value: 'method.type' does not support '{request.method.type}' here. "
            "Supported values are: 'supervised'.",
            param="method.type",
            code="unsupported_value",
        )
    if request.integrations:
        raise InvalidRequest(
            "Unsupported value: 'integrations' are not supported by this server. Leave them out; "
            "the job's events and result file hold every metric.",
            param="integrations",
            code="unsupported_value",
        )


async def _starting_point(
    services: Services, caller: Caller, name: str
) -> tuple[str, str | None, str]:
    """Return the base, the adapter to go on from, and the name the job shows."""
    if TunedModelName.parse(name) is not None:
        tuned = await services.store.models.find(name, project_id=caller.project_id)
        if tuned is not None:
            services.catalog.get(tuned.base)
            return tuned.base, tuned.adapter_id, name
    base = services.catalog.get(name)
    return base.name, None, base.name


async def _check_file(services: Services, caller: Caller, file_id: str, *, param: str) -> None:
    try:
        file = await services.store.files.get(file_id, project_id=caller.project_id)
    except FileNotFound as exc:
        # 400, not 404, as at OpenAI: the missing thing is not what the URL names.
        raise InvalidRequest(f"invalid {param}: {file_id}", param=param) from exc
    if file.purpose != "fine-tune":
        raise InvalidRequest(
            f"File '{file_id}' was uploaded for '{file.purpose}'. Upload it with purpose 'fine-tune'.",
            param=param,
            code="invalid_file_purpose",
        )


def _asked_hyperparameters(request: JobCreate) -> Hyperparameters:
    nested: HyperparametersRequest | None = None
    if request.method is not None and request.method.supervised is not None:
        nested = request.method.supervised.hyperparameters
    asked = nested or request.hyperparameters or HyperparametersRequest()
    return asked.resolved()
