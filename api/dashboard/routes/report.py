"""`/ui/jobs/{id}/report`: how a job's model does next to its base."""

from math import ceil

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

from api.bodies import ApiRequest
from api.dashboard.pages import Page, is_fragment, messages_of, render
from api.dashboard.report_view import (
    MOST_LABELS,
    PER_PAGE,
    Shown,
    as_shown,
    confusion_rows,
    counts_of,
    examples_of,
    notes_of,
    state_of,
)
from jobs import fine_tuning
from jobs.keys import Caller
from jobs.reports import finding
from jobs.services import Services
from schemas.base import Schema
from schemas.fine_tuning import Job
from schemas.report import Report


class ReportQuery(Schema):
    """Which examples to show."""

    outcome: Shown = "all"
    page: int = Field(default=1, ge=1, le=1000)


@get("/ui/jobs/{job_id:str}/report")
async def show(
    request: ApiRequest,
    job_id: FromPath[str],
    params: NamedDependency[ReportQuery],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page | Response[str]:
    """Show the report, or why there is none and what to expect."""
    # The token before the job: what changes between them is told once more, not never.
    since = await services.store.job_changes.of_job(job_id, project_id=caller.project_id)
    job = await fine_tuning.get(services, caller, job_id)
    report = await finding.find(services, caller, job)
    if report is not None and is_fragment(request):
        # A page that waited for the report asks for its live part: there is a whole page now.
        return Response("", headers={"hx-refresh": "true"})
    if report is not None:
        return _report(request, job, report, params)
    state = state_of(job, is_there=False)
    is_live = state in {"unfinished", "pending", "running"}
    return render(
        request, "report_missing.html", job=job, state=state, is_live=is_live, since=since
    )


def _report(request: ApiRequest, job: Job, report: Report, params: ReportQuery) -> Page:
    examples = examples_of(report, params.outcome)
    n_pages = max(1, ceil(len(examples) / PER_PAGE))
    page = min(params.page, n_pages)
    labels = report.scores.labels
    confusion = labels.confusion if labels else None
    is_small = confusion is not None and len(confusion.labels) <= MOST_LABELS
    return render(
        request,
        "report.html",
        job=job,
        report=report,
        notes=notes_of(report, messages_of(request)),
        confusion=confusion_rows(confusion) if confusion and is_small else None,
        counts=counts_of(report),
        examples=[as_shown(each) for each in examples[(page - 1) * PER_PAGE : page * PER_PAGE]],
        outcome=params.outcome,
        page=page,
        n_pages=n_pages,
    )
