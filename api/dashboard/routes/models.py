"""`/ui/models`: whom one can ask, what they are made of, and deleting what one has trained."""

from math import ceil
from typing import Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.response import Redirect
from pydantic import Field

from api.bodies import ApiRequest
from api.dashboard.guard import form_of
from api.dashboard.pages import Page, messages_of, render
from jobs import models
from jobs.changes import Changes
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema

PATH: Final = "/ui/models"
_PAGE: Final = 50


class ListModels(Schema):
    """The query of the list."""

    search: str = Field(default="", max_length=256)
    page: int = Field(default=1, ge=1, le=10_000)


class OneModel(Schema):
    """The query of a page about one model; a name may hold slashes and colons, so it is no part of a path."""

    model: str = ""


@get(PATH)
async def list_all(
    request: ApiRequest,
    params: NamedDependency[ListModels],
    services: NamedDependency[Services],
    changes: NamedDependency[Changes],
    caller: NamedDependency[Caller],
) -> Page:
    """List the bases, and the project's tuned models and checkpoints."""
    # The token before the list: what changes between them is told once more, not never.
    state = await changes.of_models(caller)
    found = (await models.list_models(services, caller, with_details=True)).data
    catalog = services.catalog
    tuned = [model for model in found if catalog.find(model.id) is None]
    search = params.search.strip().casefold()
    matching = [model for model in tuned if search in model.id.casefold()]
    n_pages = max(1, ceil(len(matching) / _PAGE))
    page = min(params.page, n_pages)
    aliases: dict[str, list[str]] = {}
    for alias in catalog.aliases():
        if (base := catalog.find(alias)) is not None:
            aliases.setdefault(base.name, []).append(alias)
    return render(
        request,
        "models.html",
        bases=[model for model in found if model.details and model.details.base == model.id],
        aliases=aliases,
        has_tuned=bool(tuned),
        tuned=matching[(page - 1) * _PAGE : page * _PAGE],
        search=params.search,
        page=page,
        n_pages=n_pages,
        state=state,
        may_ask="model.request" in caller.scopes,
        may_delete="api.model.write" in caller.scopes,
        may_train="api.fine_tuning.write" in caller.scopes,
    )


@get(PATH + "/delete")
async def confirm_delete(
    request: ApiRequest,
    params: NamedDependency[OneModel],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Ask whether a model shall really go."""
    model = await models.get(services, caller, params.model)
    t = messages_of(request)
    return render(
        request,
        "confirm.html",
        question=t("models.delete_really", name=model.id),
        means=t("models.delete_means"),
        yes=t("models.delete"),
        back=PATH,
        fields={"model": model.id},
    )


@post(PATH + "/delete")
async def delete(
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Redirect:
    """Delete a tuned model."""
    await models.delete(services, caller, form_of(request).get("model", ""))
    return Redirect(PATH, status_code=303)
