"""`/v1/batches`."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

from api.bodies import JOB_BYTES, ApiRequest, parse_body, parse_query
from jobs import batches
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import CursorPage, Schema
from schemas.batches import Batch, BatchCreate


class ListBatches(Schema):
    """The query of a list of batches."""

    after: str | None = None
    limit: int = Field(default=20, ge=0, le=100)


class Batches(Controller):
    """Create, watch and cancel batches."""

    path = "/batches"

    @post(status_code=200)
    async def create(
        self,
        request: ApiRequest,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Batch:
        body = await parse_body(request, BatchCreate, limit=JOB_BYTES)
        return await batches.create(services, caller, body)

    @get()
    async def list_all(
        self,
        request: ApiRequest,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[Batch]:
        query = parse_query(request, ListBatches)
        return await batches.list_batches(services, caller, after=query.after, limit=query.limit)

    @get("/{batch_id:str}")
    async def retrieve(
        self,
        batch_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Batch:
        return await batches.get(services, caller, batch_id)

    @post("/{batch_id:str}/cancel", status_code=200)
    async def cancel(
        self,
        batch_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Batch:
        return await batches.cancel(services, caller, batch_id)
