"""`/ui/jobs`: the list."""

from collections.abc import Mapping
from typing import Final, Literal, get_args
from urllib.parse import urlencode

from litestar import get
from litestar.di import NamedDependency
from litestar.response import Redirect
from pydantic import Field

from api.bodies import ApiRequest
from api.dashboard.pages import HOME, Page, render
from api.dashboard.sparkline import draw
from jobs import fine_tuning
from jobs.curves import sparklines
from jobs.keys import Caller
from jobs.lifecycle import UNFINISHED
from jobs.services import Services
from jobs.store.job_filter import JobFilter
from schemas.base import Schema
from schemas.fine_tuning import JobStatus
from schemas.scopes import Scope

Tab = Literal["all", "running", "succeeded", "failed", "cancelled"]

_TABS: Final[Mapping[Tab, frozenset[JobStatus]]] = {
    "all": frozenset(get_args(JobStatus)),
    "running": UNFINISHED,
    "succeeded": frozenset({"succeeded"}),
    "failed": frozenset({"failed"}),
    "cancelled": frozenset({"cancelled"}),
}
_FIRST_PAGES: Final[Mapping[Scope, str]] = {
    "api.fine_tuning.read": "/ui/jobs",
    "api.files.read": "/ui/files",
    "api.model.read": "/ui/models",
}
"""What to begin with, by what it asks of a key."""
_ROWS: Final = 50


class ListJobs(Schema):
    """The query of the list."""

    tab: Tab = "all"
    search: str = Field(default="", max_length=256)
    base: str = ""
    after: str | None = None

    def with_(self, **changed: str) -> str:
        """Return the query string of the same list with something else; from its first row."""
        fields = {**self.model_dump(exclude={"after"}, exclude_defaults=True), **changed}
        return urlencode({name: value for name, value in fields.items() if value})

    @property
    def is_filtered(self) -> bool:
        """Whether the list leaves something out."""
        return self.tab != "all" or bool(self.search or self.base)


@get(HOME)
async def home(caller: NamedDependency[Caller]) -> Redirect:
    """Begin with the first page that the key may see; with an admin key, which has no project, with the keys."""
    if caller.is_admin:
        return Redirect("/ui/keys", status_code=303)
    seen = (path for scope, path in _FIRST_PAGES.items() if scope in caller.scopes)
    return Redirect(next(seen, "/ui/jobs"), status_code=303)


@get("/ui/jobs")
async def list_all(
    request: ApiRequest,
    params: NamedDependency[ListJobs],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """List the newest jobs."""
    # The token before the list: what changes between them is told once more, not never.
    state = await services.store.job_changes.of_project(caller.project_id)
    wanted = JobFilter(
        statuses=None if params.tab == "all" else sorted(_TABS[params.tab]),
        search=params.search.strip() or None,
        base=params.base or None,
    )
    page = await fine_tuning.list_jobs(
        services, caller, after=params.after, limit=_ROWS, wanted=wanted, with_counts=True
    )
    curves = await sparklines(services, [job.id for job in page.data])
    counts = page.counts or {}
    return render(
        request,
        "jobs.html",
        jobs=page.data,
        has_more=page.has_more,
        asked=params,
        bases=[base.name for base in services.catalog.all() if base.task == "generate"],
        curves={job_id: draw(curve) for job_id, curve in curves.items()},
        state=state,
        tabs={
            tab: sum(counts.get(status, 0) for status in statuses)
            for tab, statuses in _TABS.items()
        },
    )
