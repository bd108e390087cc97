"""`/ui/jobs`: the list, and the page of a job."""

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard.pages import HOME, Page, render
from jobs import fine_tuning
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema


class ListJobs(Schema):
    """The query of the list."""

    after: str | None = None


@get("/ui")
async def home() -> Redirect:
    """Begin with the jobs."""
    return Redirect(HOME, status_code=303)


@get("/ui/jobs")
async def list_all(
    request: ApiRequest,
    params: NamedDependency[ListJobs],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """List the newest jobs."""
    page = await fine_tuning.list_jobs(
        services, caller, after=params.after, limit=50, metadata=None
    )
    return render(request, "jobs.html", jobs=page.data, has_more=page.has_more)


@get("/ui/jobs/{job_id:str}")
async def show(
    request: ApiRequest,
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show a job: facts and events."""
    job = await fine_tuning.get(services, caller, job_id)
    events = await fine_tuning.list_events(services, caller, job_id, after=None, limit=100)
    return render(request, "job.html", job=job, events=events.data)
