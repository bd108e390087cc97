"""`/v1/system`, an extension of ours."""

from litestar import get
from litestar.di import NamedDependency

from jobs import system as server
from jobs.keys import Caller
from jobs.services import Services
from schemas.system import System


@get("/system")
async def system(services: NamedDependency[Services], caller: NamedDependency[Caller]) -> System:
    """Say how the server is."""
    return await server.look(services, caller)
