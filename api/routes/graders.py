"""`/v1/fine_tuning/alpha/graders`."""

from litestar import Controller, post
from litestar.di import NamedDependency

from api.bodies import CHAT_BYTES, JOB_BYTES, ApiRequest, parse_body
from jobs.graders import grading
from jobs.keys import Caller
from jobs.services import Services
from schemas.graders import GraderRun, GraderValidated, RunGrader, ValidateGrader


class Graders(Controller):
    """Try and check graders."""

    path = "/fine_tuning/alpha/graders"

    @post("/run", status_code=200)
    async def run(
        self,
        request: ApiRequest,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> GraderRun:
        body = await parse_body(request, RunGrader, limit=CHAT_BYTES)
        return await grading.run(services, caller, body)

    @post("/validate", status_code=200)
    async def validate(
        self,
        request: ApiRequest,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> GraderValidated:
        body = await parse_body(request, ValidateGrader, limit=JOB_BYTES)
        return await grading.validate(services, caller, body)
