"""`/ui/compare`: the curves of several jobs over each other, and what their settings differ in."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, get_args

from litestar import get
from litestar.di import NamedDependency
from pydantic import Field

from api.bodies import ApiRequest
from api.dashboard.pages import Page, render
from jobs import fine_tuning
from jobs.curves import curves_of
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.job_filter import ALL_JOBS
from schemas.base import Schema
from schemas.curves import Curves, MetricName
from schemas.errors import InvalidRequest
from schemas.fine_tuning import Job

MOST: Final = 6
"""Jobs in one chart: more colours are not told apart."""
_OFFERED: Final = 50
_METRICS: Final[tuple[MetricName, ...]] = get_args(MetricName)
_CHARTS: Final = {
    "loss": "train_loss full_valid_loss",
    "accuracy": "train_mean_token_accuracy full_valid_mean_token_accuracy",
    "learning_rate": "learning_rate",
    "grad_norm": "grad_norm",
    "speed": "tokens_per_second",
}


class Compare(Schema):
    """The query: ids, each by itself or several with commas between."""

    jobs: list[str] = Field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        """Of the jobs, each once."""
        asked = (part.strip() for several in self.jobs for part in several.split(","))
        return list(dict.fromkeys(part for part in asked if part))


class Row(NamedTuple):
    """A setting, and what it is for each job."""

    name: str
    values: Sequence[object]


@get("/ui/compare")
async def show(
    request: ApiRequest,
    params: NamedDependency[Compare],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Lay jobs over each other; ask which, while there are not two."""
    ids = params.ids
    if len(ids) > MOST:
        raise InvalidRequest(f"At most {MOST} jobs can be laid over each other.", param="jobs")
    if len(ids) < 2:
        newest = await fine_tuning.list_jobs(
            services, caller, after=None, limit=_OFFERED, wanted=ALL_JOBS
        )
        return render(request, "compare_choose.html", jobs=newest.data, chosen=ids, most=MOST)
    jobs = [await fine_tuning.get(services, caller, job_id) for job_id in ids]
    # Two points: of each curve the first and the last.
    measured = [await curves_of(services, caller, job_id, points=2) for job_id in ids]
    return render(
        request,
        "compare.html",
        jobs=jobs,
        charts=_CHARTS,
        settings=[row for row in _settings(jobs) if _differs(row)],
        results=_results(measured),
    )


def _settings(jobs: Sequence[Job]) -> list[Row]:
    """Return what the jobs were made with; the names are OpenAI's fields, and ours."""
    each = [_made_with(job) for job in jobs]
    names = dict.fromkeys(name for settings in each for name in settings)
    return [Row(name, [settings.get(name) for settings in each]) for name in names]


def _made_with(job: Job) -> Mapping[str, object]:
    metadata = {f"metadata.{key}": value for key, value in (job.metadata or {}).items()}
    return {
        "model": job.model,
        **job.hyperparameters.model_dump(exclude_none=True),
        "seed": job.seed,
        "training_file": job.training_file,
        "validation_file": job.validation_file,
        **metadata,
    }


def _differs(row: Row) -> bool:
    return any(value != row.values[0] for value in row.values)


def _results(measured: Sequence[Curves]) -> list[Row]:
    """Return the last value of each metric that some job has."""
    rows = [Row(name, [_last(curves, name) for curves in measured]) for name in _METRICS]
    return [row for row in rows if any(value is not None for value in row.values)]


def _last(curves: Curves, name: MetricName) -> float | None:
    curve = curves.curves.get(name)
    return curve.values[-1] if curve else None
