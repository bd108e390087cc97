"""`/ui/usage`: what was asked and trained, by day, model and job."""

import time
from typing import Final, Literal

from litestar import get
from litestar.di import NamedDependency

from api.bodies import ApiRequest
from api.dashboard.bars import draw
from api.dashboard.pages import Page, render
from api.dashboard.usage_view import TrainedJob, by_day, by_job, by_model
from jobs import fine_tuning, projects, usage
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.job_filter import ALL_JOBS
from schemas.base import Schema
from schemas.usage import WIDTHS, GroupField, UsageBucket, UsageKind, UsageQuery

Days = Literal["7", "30"]
DAYS: Final[tuple[Days, ...]] = ("7", "30")
_PROJECTS: Final = 100
_JOBS: Final = 100
_ROWS: Final = 300
"""Of models by day; the sums above them are of all."""
_DAY: Final = WIDTHS["1d"]


class ShowUsage(Schema):
    """The query of the page."""

    days: Days = "7"
    """How many, today among them."""
    project: str = ""
    """An id; empty: all."""


@get("/ui/usage")
async def show(
    request: ApiRequest,
    params: NamedDependency[ShowUsage],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show the usage of the organization, or to a project's key what its jobs trained."""
    if "api.usage.read" not in caller.scopes:
        return await _of_project(request, services, caller)
    chats = await _buckets(services, params, "completions", ["model"])
    vectors = await _buckets(services, params, "embeddings", ["model"])
    trained = await _buckets(services, params, "fine_tuning", ["job_id", "model", "project_id"])
    days, rows = by_day(chats, vectors), by_model(chats, vectors)
    found = await projects.list_projects(
        services, caller, include_archived=True, limit=_PROJECTS, after=None
    )
    return render(
        request,
        "usage.html",
        asked=params,
        choices=DAYS,
        projects=found.data,
        days=days,
        request_bars=draw([(amount.requests,) for amount in days.values()]),
        token_bars=draw([(each.input_tokens, each.output_tokens) for each in days.values()]),
        rows=rows[:_ROWS],
        n_left_out=max(0, len(rows) - _ROWS),
        jobs=by_job(trained)[:_JOBS],
    )


async def _buckets(
    services: Services, params: ShowUsage, kind: UsageKind, group_by: list[GroupField]
) -> list[UsageBucket]:
    n_days = int(params.days)
    today = int(time.time()) // _DAY * _DAY
    query = UsageQuery(
        start_time=today - (n_days - 1) * _DAY,
        limit=n_days,
        group_by=group_by,
        project_ids=[params.project] if params.project else [],
    )
    return (await usage.page(services, query, kind=kind)).data


async def _of_project(request: ApiRequest, services: Services, caller: Caller) -> Page:
    """Return what a project's key may know: the API tells usage to admin keys only."""
    jobs: list[TrainedJob] = []
    if "api.fine_tuning.read" in caller.scopes:
        page = await fine_tuning.list_jobs(
            services, caller, after=None, limit=_JOBS, wanted=ALL_JOBS
        )
        jobs = [
            TrainedJob(job.id, job.model, None, job.trained_tokens, None)
            for job in page.data
            if job.trained_tokens
        ]
    return render(request, "usage_elsewhere.html", jobs=jobs)
