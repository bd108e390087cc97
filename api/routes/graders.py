"""`/v1/fine_tuning/alpha/graders`."""

from litestar import Controller, post
from litestar.di import NamedDependency

from api.bodies import CHAT_BYTES
from jobs.graders import grading
from jobs.keys import Caller
from jobs.services import Services
from schemas.graders import GraderRun, GraderValidated, RunGrader, ValidateGrader


class Graders(Controller):
    """Try and check graders."""

    path = "/fine_tuning/alpha/graders"

    @post("/run", status_code=200, max_bytes=CHAT_BYTES)
    async def run(
        self,
        asked: NamedDependency[RunGrader],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> GraderRun:
        return await grading.run(services, caller, asked)

    @post("/validate", status_code=200)
    async def validate(
        self,
        asked: NamedDependency[ValidateGrader],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> GraderValidated:
        return await grading.validate(services, caller, asked)
