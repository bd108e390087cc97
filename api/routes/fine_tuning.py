"""`/v1/fine_tuning/jobs`."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

from api.bodies import ApiRequest
from api.idempotency import attempt_of
from jobs import fine_tuning
from jobs.curves import curves_of
from jobs.dry_run import dry_run
from jobs.keys import Caller
from jobs.seen_examples import seen_examples
from jobs.services import Services
from jobs.store.job_filter import JobFilter
from schemas.base import CursorPage, Metadata, Page, Schema
from schemas.curves import Curves
from schemas.dry_run import DryRun
from schemas.fine_tuning import (
    Checkpoint,
    Event,
    EventKind,
    EventLevel,
    Job,
    JobPage,
    JobStatus,
    ModelLimits,
)
from schemas.fine_tuning_requests import JobCreate
from schemas.seen_examples import SeenExamples


class ListNewest(Schema):
    """The query of a list."""

    after: str | None = None
    limit: int = Field(default=20, ge=0, le=100)


class ListJobs(ListNewest):
    """The query of the list of jobs."""

    status: list[JobStatus] = Field(default_factory=list)
    """Ours: only jobs in one of these."""
    search: str | None = Field(default=None, max_length=256)
    """Ours: part of a job's id, suffix or models."""
    base: str | None = None
    """Ours: only jobs that train this base model, or a tuned one of it."""
    file: list[str] = Field(default_factory=list, max_length=100)
    """Ours: only jobs that train on, validate with or made one of these files."""
    with_counts: bool = False
    """Ours: whether to say how many jobs there are of each status."""


class RetrieveJob(Schema):
    """The query of a job."""

    with_queue_position: bool = False
    """Ours: whether to say how many jobs come before a queued one."""


class RetrieveMetrics(Schema):
    """The query of a job's curves."""

    points: int = Field(default=1000, ge=2, le=10_000)
    """The most that a curve may have."""


class ListEvents(ListNewest):
    """The query of a list of events."""

    type: EventKind | None = None
    """Ours: only what the job says, or only what it measured."""
    level: list[EventLevel] = Field(default_factory=list)
    """Ours: only events of one of these levels."""


class ListCheckpoints(ListNewest):
    """The query of a list of checkpoints."""

    limit: int = Field(default=10, ge=0, le=100)


@get("/fine_tuning/model_limits")
async def model_limits(
    services: NamedDependency[Services], caller: NamedDependency[Caller]
) -> dict[str, ModelLimits]:
    """Say how many jobs each base takes."""
    return await fine_tuning.model_limits(services, caller)


class FineTuning(Controller):
    """Create, watch, pause, resume and cancel jobs."""

    path = "/fine_tuning/jobs"

    @post(status_code=200)
    async def create(
        self,
        request: ApiRequest,
        asked: NamedDependency[JobCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Job | DryRun:
        if asked.dry_run:
            return await dry_run(services, caller, asked)
        return await fine_tuning.create(services, caller, asked, attempt=attempt_of(request))

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListJobs],
        metadata: NamedDependency[Metadata | None],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> JobPage:
        wanted = JobFilter(
            statuses=params.status or None,
            search=params.search,
            base=params.base,
            metadata=metadata,
            files=params.file or None,
        )
        return await fine_tuning.list_jobs(
            services,
            caller,
            after=params.after,
            limit=params.limit,
            wanted=wanted,
            with_counts=params.with_counts,
        )

    @get("/{job_id:str}")
    async def retrieve(
        self,
        job_id: FromPath[str],
        params: NamedDependency[RetrieveJob],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Job:
        return await fine_tuning.get(
            services, caller, job_id, with_queue_position=params.with_queue_position
        )

    @get("/{job_id:str}/metrics")
    async def metrics(
        self,
        job_id: FromPath[str],
        params: NamedDependency[RetrieveMetrics],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Curves:
        return await curves_of(services, caller, job_id, points=params.points)

    @get("/{job_id:str}/examples")
    async def examples(
        self,
        job_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> SeenExamples:
        return await seen_examples(services, caller, job_id)

    @post("/{job_id:str}/cancel", status_code=200)
    async def cancel(
        self,
        job_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Job:
        return await fine_tuning.cancel(services, caller, job_id)

    @post("/{job_id:str}/pause", status_code=200)
    async def pause(
        self,
        job_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Job:
        return await fine_tuning.pause(services, caller, job_id)

    @post("/{job_id:str}/resume", status_code=200)
    async def resume(
        self,
        job_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Job:
        return await fine_tuning.resume(services, caller, job_id)

    @get("/{job_id:str}/events")
    async def events(
        self,
        job_id: FromPath[str],
        params: NamedDependency[ListEvents],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Page[Event]:
        return await fine_tuning.list_events(
            services,
            caller,
            job_id,
            after=params.after,
            limit=params.limit,
            type=params.type,
            levels=params.level or None,
        )

    @get("/{job_id:str}/checkpoints")
    async def checkpoints(
        self,
        job_id: FromPath[str],
        params: NamedDependency[ListCheckpoints],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[Checkpoint]:
        return await fine_tuning.list_checkpoints(
            services, caller, job_id, after=params.after, limit=params.limit
        )
