"""`/v1/webhook_endpoints` and `/v1/webhook_event_types`."""

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

from jobs.keys import Caller
from jobs.services import Services
from jobs.webhooks import endpoints
from schemas.base import CursorPage, Schema
from schemas.webhooks import (
    Endpoint,
    EndpointCreate,
    EndpointDeleted,
    EndpointTest,
    EndpointTested,
    EndpointUpdate,
    EndpointWithSecret,
    EventTypes,
    SecretRotate,
)


class ListEndpoints(Schema):
    """The query of a list of endpoints."""

    after: str | None = None
    limit: int = Field(default=20, ge=1, le=100)


class WebhookEndpoints(Controller):
    """Make, look up, change, delete and try endpoints."""

    path = "/webhook_endpoints"

    @post(status_code=200)
    async def create(
        self,
        asked: NamedDependency[EndpointCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> EndpointWithSecret:
        return await endpoints.create(services, caller, asked)

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListEndpoints],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[Endpoint]:
        return await endpoints.list_endpoints(
            services, caller, limit=params.limit, after=params.after
        )

    @get("/{endpoint_id:str}")
    async def retrieve(
        self,
        endpoint_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Endpoint:
        return await endpoints.get(services, caller, endpoint_id)

    @post("/{endpoint_id:str}", status_code=200)
    async def update(
        self,
        endpoint_id: FromPath[str],
        asked: NamedDependency[EndpointUpdate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Endpoint:
        return await endpoints.update(services, caller, endpoint_id, asked)

    @delete("/{endpoint_id:str}", status_code=200)
    async def remove(
        self,
        endpoint_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> EndpointDeleted:
        return await endpoints.delete(services, caller, endpoint_id)

    @post("/{endpoint_id:str}/rotate_secret", status_code=200)
    async def rotate_secret(
        self,
        endpoint_id: FromPath[str],
        asked: NamedDependency[SecretRotate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> EndpointWithSecret:
        return await endpoints.rotate_secret(services, caller, endpoint_id, asked)

    @post("/{endpoint_id:str}/test", status_code=200)
    async def test(
        self,
        endpoint_id: FromPath[str],
        asked: NamedDependency[EndpointTest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> EndpointTested:
        return await endpoints.test(services, caller, endpoint_id, asked)


@get("/webhook_event_types")
async def event_types() -> EventTypes:
    """Say what can be subscribed to."""
    return endpoints.event_types()
