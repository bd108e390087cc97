"""`/v1/models`."""

from litestar import Controller, delete, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from jobs import models
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema
from schemas.models import Model, ModelDeleted, ModelList


class ListModels(Schema):
    """The query of the list."""

    with_details: bool = False
    """An extension: with each model its base, its job, its engine, and whether that holds it just now."""


class Models(Controller):
    """List, look up and delete models. A name may hold slashes, encoded or not."""

    path = "/models"

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListModels],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ModelList:
        return await models.list_models(services, caller, with_details=params.with_details)

    @get("/{name:path}")
    async def retrieve(
        self,
        name: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Model:
        return await models.get(services, caller, name.removeprefix("/"))

    @delete("/{name:path}", status_code=200)
    async def remove(
        self,
        name: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ModelDeleted:
        return await models.delete(services, caller, name.removeprefix("/"))
