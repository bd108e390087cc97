"""`/ui/system`: how the server is."""

from litestar import get
from litestar.di import NamedDependency

from api.bodies import ApiRequest
from api.dashboard.pages import Page, render
from jobs import system
from jobs.changes import Changes
from jobs.keys import Caller
from jobs.services import Services


@get("/ui/system")
async def show(
    request: ApiRequest,
    services: NamedDependency[Services],
    changes: NamedDependency[Changes],
    caller: NamedDependency[Caller],
) -> Page:
    """Show engines, queue, workers, disk, versions and checks."""
    # The token before the look: what changes between them is told once more, not never.
    state = await changes.of_system()
    return render(request, "system.html", state=state, system=await system.look(services, caller))
