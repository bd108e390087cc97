"""`/ui/jobs/{id}`: the page of a job."""

from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.bodies import ApiRequest
from api.dashboard.pages import Page, render
from jobs import fine_tuning
from jobs.curves import curves_of
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema
from schemas.curves import Curves

_POINTS: Final = 1200
"""Of a curve: about as many as a wide screen has pixels for."""


class MetricsAfter(Schema):
    """The query of the charts' numbers."""

    after: str | None = None
    """An event's id: only what was measured after it."""


@get("/ui/jobs/{job_id:str}")
async def show(
    request: ApiRequest,
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show a job: facts and events."""
    caller.ensure_may("api.fine_tuning.read")
    job = await fine_tuning.get(services, caller, job_id)
    events = await fine_tuning.list_events(services, caller, job_id, after=None, limit=100)
    return render(request, "job.html", job=job, events=events.data)


@get("/ui/jobs/{job_id:str}/metrics")
async def metrics(
    job_id: FromPath[str],
    params: NamedDependency[MetricsAfter],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Curves:
    """Return what the charts draw, thinned out; or all that came since."""
    caller.ensure_may("api.fine_tuning.read")
    return await curves_of(services, caller, job_id, points=_POINTS, after=params.after)
