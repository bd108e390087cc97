"""`/v1/batches`."""

from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from pydantic import Field

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
        asked: NamedDependency[BatchCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Batch:
        return await batches.create(services, caller, asked)

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListBatches],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[Batch]:
        return await batches.list_batches(services, caller, after=params.after, limit=params.limit)

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
