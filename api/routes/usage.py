"""`/v1/organization/usage`."""

from litestar import Controller, get
from litestar.di import NamedDependency

from api.bodies import ApiRequest, parse_lists
from jobs import usage
from jobs.services import Services
from schemas.usage import UsagePage, UsageQuery


class Usage(Controller):
    """What was used, for admin keys."""

    path = "/organization/usage"

    @get("/completions")
    async def completions(
        self, request: ApiRequest, services: NamedDependency[Services]
    ) -> UsagePage:
        return await usage.page(services, parse_lists(request, UsageQuery), kind="completions")

    @get("/embeddings")
    async def embeddings(
        self, request: ApiRequest, services: NamedDependency[Services]
    ) -> UsagePage:
        return await usage.page(services, parse_lists(request, UsageQuery), kind="embeddings")

    @get("/fine_tuning")
    async def fine_tuning(
        self, request: ApiRequest, services: NamedDependency[Services]
    ) -> UsagePage:
        return await usage.page(services, parse_lists(request, UsageQuery), kind="fine_tuning")
