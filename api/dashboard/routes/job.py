"""`/ui/jobs/{id}`: the page of a job, its numbers, and what can be done with it."""

from collections.abc import Mapping
from typing import Any, Final, Literal

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard.pages import Page, render
from jobs import fine_tuning
from jobs.curves import csv_of, curves_of
from jobs.keys import Caller
from jobs.lifecycle import is_terminal
from jobs.seen_examples import seen_examples
from jobs.services import Services
from schemas.base import Schema
from schemas.curves import Curves
from schemas.errors import ApiError
from schemas.fine_tuning import Job

PATH: Final = "/ui/jobs/{job_id:str}"
Shown = Literal["messages", "problems", "steps"]

_EVENTS: Final = 30
_CHECKPOINTS: Final = 100
_POINTS: Final = 1200
"""Of a curve: about as many as a wide screen has pixels for."""
_SHOWN: Final[Mapping[Shown, Mapping[str, Any]]] = {
    "messages": {"type": "message"},
    "problems": {"levels": ("warn", "error")},
    "steps": {"type": None},
}
"""What of the log is asked for."""
_OPENAIS: Final = frozenset({"n_epochs", "batch_size", "learning_rate_multiplier"})
_CHARTS: Final = {
    "loss": "train_loss valid_loss full_valid_loss",
    "accuracy": "train_mean_token_accuracy valid_mean_token_accuracy full_valid_mean_token_accuracy",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "speed": "tokens_per_second",
}
"""Each with the curves in it."""


class ShowJob(Schema):
    """The query of a job's page."""

    show: Shown = "messages"
    """What of the log."""
    after: str | None = None
    """The event before the page of the log."""


class MetricsAfter(Schema):
    """The query of the charts' numbers."""

    after: str | None = None
    """An event's id: only what was measured after it."""


@get(PATH)
async def show(
    request: ApiRequest,
    job_id: FromPath[str],
    params: NamedDependency[ShowJob],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show a job: what it is, how it goes, and what it says."""
    # The token before the job: what changes between them is told once more, not never.
    state = await services.store.job_changes.of_job(job_id, project_id=caller.project_id)
    watched = await fine_tuning.watch(services, caller, job_id)
    told = await fine_tuning.list_events(
        services, caller, job_id, after=params.after, limit=_EVENTS, **_SHOWN[params.show]
    )
    checkpoints = await fine_tuning.list_checkpoints(
        services, caller, job_id, after=None, limit=_CHECKPOINTS
    )
    return render(
        request,
        "job.html",
        job=watched.job,
        may_change="api.fine_tuning.write" in caller.scopes,
        is_over=is_terminal(watched.job.status),
        is_pausing=watched.is_pausing,
        started_at=watched.started_at,
        newest_step=watched.newest_step,
        extensions=_extensions(watched.job),
        events=told,
        asked=params,
        checkpoints=checkpoints.data,
        charts=_CHARTS,
        state=None if _is_settled(watched.job) else state,
    )


@get(PATH + "/metrics")
async def metrics(
    job_id: FromPath[str],
    params: NamedDependency[MetricsAfter],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Curves:
    """Return what the charts draw, thinned out; or what came since."""
    return await curves_of(services, caller, job_id, points=_POINTS, after=params.after)


@get(PATH + "/metrics.csv")
async def metrics_file(
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Response[str]:
    """Return every number of every step."""
    content = await csv_of(services, caller, job_id)
    headers = {"content-disposition": f'attachment; filename="{job_id}.csv"'}
    return Response(content, headers=headers, media_type="text/csv")


@get(PATH + "/examples")
async def examples(
    request: ApiRequest,
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show the first examples as the model sees them; where that cannot be done, say why."""
    job = await fine_tuning.get(services, caller, job_id)
    seen, refused = None, None
    try:
        seen = await seen_examples(services, caller, job_id)
    except ApiError as exc:
        refused = exc
    return render(
        request,
        "job_examples.html",
        status_code=refused.status if refused else 200,
        job=job,
        seen=seen,
        refused=refused,
    )


@get(PATH + "/cancel")
async def confirm_cancel(
    request: ApiRequest,
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Ask whether a job shall really be cancelled, where no script can ask."""
    job = await fine_tuning.get(services, caller, job_id)
    return render(request, "job_cancel.html", job=job)


@post(PATH + "/cancel")
async def cancel(
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Redirect:
    """Cancel a job."""
    return _to(await fine_tuning.cancel(services, caller, job_id))


@post(PATH + "/pause")
async def pause(
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Redirect:
    """Pause a job."""
    return _to(await fine_tuning.pause(services, caller, job_id))


@post(PATH + "/resume")
async def resume(
    job_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Redirect:
    """Let a paused job go on."""
    return _to(await fine_tuning.resume(services, caller, job_id))


def _to(job: Job) -> Redirect:
    return Redirect(f"/ui/jobs/{job.id}", status_code=303)


def _extensions(job: Job) -> Mapping[str, object]:
    """Return the hyperparameters that OpenAI does not have, as they were asked for."""
    asked = job.hyperparameters.model_dump(exclude_none=True)
    return {name: value for name, value in asked.items() if name not in _OPENAIS}


def _is_settled(job: Job) -> bool:
    """Whether nothing more will happen to a job."""
    has_report_to_come = job.report is not None and job.report.status in {"pending", "running"}
    return is_terminal(job.status) and not has_report_to_come
