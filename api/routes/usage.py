"""`/v1/organization/usage`."""

from litestar import Controller, get
from litestar.di import NamedDependency

from jobs import usage
from jobs.services import Services
from schemas.usage import UsagePage, UsageQuery


class Usage(Controller):
    """What was used, for admin keys."""

    path = "/organization/usage"

    @get("/completions")
    async def completions(
        self, params: NamedDependency[UsageQuery], services: NamedDependency[Services]
    ) -> UsagePage:
        return await usage.page(services, params, kind="completions")

    @get("/embeddings")
    async def embeddings(
        self, params: NamedDependency[UsageQuery], services: NamedDependency[Services]
    ) -> UsagePage:
        return await usage.page(services, params, kind="embeddings")

    @get("/fine_tuning")
    async def fine_tuning(
        self, params: NamedDependency[UsageQuery], services: NamedDependency[Services]
    ) -> UsagePage:
        return await usage.page(services, params, kind="fine_tuning")
