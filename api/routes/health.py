"""`/health` and `/ready`, for those who watch the process; neither needs a key."""

from litestar import Response, get
from litestar.di import NamedDependency

from jobs.services import Readiness, Services, readiness


@get("/health")
async def health() -> dict[str, str]:
    """Say that the process lives."""
    return {"status": "ok"}


@get("/ready")
async def ready(services: NamedDependency[Services]) -> Response[Readiness]:
    """Say whether a job could run and a model could answer, and if not, what to do."""
    found = await readiness(services)
    return Response(found, status_code=200 if found.ok else 503)
