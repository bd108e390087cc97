"""`/ui/keys`: the keys of each project and the admin keys, for those who may manage them."""

from collections.abc import Sequence
from typing import Final

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect
from pydantic import Field

from api.bodies import ApiRequest
from api.dashboard.guard import form_of
from api.dashboard.key_form import PRESETS, SCOPES, KeyForm
from api.dashboard.pages import Page, messages_of, render
from jobs import admin_keys, project_keys, projects
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema
from schemas.errors import InvalidRequest
from schemas.organizations import (
    AdminKey,
    KeyRotate,
    NewAdminKey,
    NewProjectKey,
    Project,
    ProjectKey,
)
from schemas.validation import validated

PATH: Final = "/ui/keys"
ADMIN: Final = "admin"
"""In the place of a project: the admin keys, which are of none."""
_PAGE: Final = 50
_PROJECTS: Final = 100
_HOURS: Final = ("0", "1", "24", "168")
"""For which the secret before may go on after a rotation."""


class ListKeys(Schema):
    """The query of the list."""

    project: str = ""
    """An id, or `ADMIN`; empty: the newest project."""
    after: str | None = None


class OfProject(Schema):
    """The query of a page about one key."""

    project: str = Field(min_length=1)


@get(PATH)
async def list_all(
    request: ApiRequest,
    params: NamedDependency[ListKeys],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """List the keys of a project; to whom may not see them, say who may."""
    if "api.management.read" not in caller.scopes:
        return render(request, "keys_elsewhere.html")
    return await _list(request, services, caller, params)


@post(PATH)
async def create(
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Make a key, and show it: this once, in the answer itself."""
    fields = form_of(request)
    project, form = fields.get("project", ""), KeyForm.of(fields)
    made: NewProjectKey | NewAdminKey
    try:
        if project == ADMIN:
            made = await admin_keys.create(services, caller, form.admin_request())
        else:
            made = await project_keys.create(services, caller, project, form.request())
    except InvalidRequest as exc:
        asked = ListKeys(project=project)
        return await _list(request, services, caller, asked, form=form, refused=exc)
    return _shown_once(request, made, project)


@get(PATH + "/{key_id:str}/rotate")
async def confirm_rotate(
    request: ApiRequest,
    key_id: FromPath[str],
    params: NamedDependency[OfProject],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Ask whether a key shall get a new secret, and how long the one before shall go on."""
    key = await _find(services, caller, key_id, params.project)
    t = messages_of(request)
    return render(
        request,
        "key_rotate.html",
        question=t("keys.rotate_really", name=key.name),
        means=t("keys.rotate_means"),
        yes=t("keys.rotate"),
        back=f"{PATH}?project={params.project}",
        fields={"project": params.project},
        hours=_HOURS,
    )


@post(PATH + "/{key_id:str}/rotate")
async def rotate(
    request: ApiRequest,
    key_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Give a key a new secret, and show it: this once, in the answer itself."""
    fields = form_of(request)
    project, hours = fields.get("project", ""), fields.get("hours", "0")
    seconds = int(hours) * 3600 if hours in _HOURS else 0
    asked = validated(KeyRotate, {"old_secret_expires_in_seconds": seconds})
    made: NewProjectKey | NewAdminKey
    if project == ADMIN:
        made = await admin_keys.rotate(services, caller, key_id, asked)
    else:
        made = await project_keys.rotate(services, caller, project, key_id, asked)
    return _shown_once(request, made, project)


@get(PATH + "/{key_id:str}/revoke")
async def confirm_revoke(
    request: ApiRequest,
    key_id: FromPath[str],
    params: NamedDependency[OfProject],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Ask whether a key shall really stop working."""
    key = await _find(services, caller, key_id, params.project)
    t = messages_of(request)
    is_own = key.id == caller.key_id
    return render(
        request,
        "confirm.html",
        question=t("keys.revoke_really", name=key.name),
        means=t("keys.revoke_own") if is_own else t("keys.revoke_means"),
        yes=t("keys.revoke"),
        back=f"{PATH}?project={params.project}",
        fields={"project": params.project},
    )


@post(PATH + "/{key_id:str}/revoke")
async def revoke(
    request: ApiRequest,
    key_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Redirect:
    """Revoke a key; its sessions end with it."""
    project = form_of(request).get("project", "")
    if project == ADMIN:
        await admin_keys.delete(services, caller, key_id)
    else:
        await project_keys.delete(services, caller, project, key_id)
    return Redirect(f"{PATH}?project={project}", status_code=303)


async def _list(
    request: ApiRequest,
    services: Services,
    caller: Caller,
    asked: ListKeys,
    *,
    form: KeyForm | None = None,
    refused: InvalidRequest | None = None,
) -> Page:
    """Return the list, with what was refused where something was."""
    found = await projects.list_projects(
        services, caller, include_archived=False, limit=_PROJECTS, after=None
    )
    chosen = asked.project or (found.data[0].id if found.data else ADMIN)
    keys, has_more = await _keys(services, caller, chosen, after=asked.after)
    return render(
        request,
        "keys.html",
        status_code=refused.status if refused else 200,
        projects=await _with_chosen(services, caller, found.data, chosen),
        chosen=chosen,
        is_admin=chosen == ADMIN,
        keys=keys,
        has_more=has_more,
        form=form or KeyForm(),
        presets=PRESETS,
        scopes=SCOPES,
        refused=refused,
    )


async def _keys(
    services: Services, caller: Caller, project: str, *, after: str | None
) -> tuple[Sequence[ProjectKey | AdminKey], bool]:
    if project == ADMIN:
        admins = await admin_keys.list_keys(
            services, caller, limit=_PAGE, after=after, order="desc"
        )
        return admins.data, admins.has_more
    page = await project_keys.list_keys(services, caller, project, limit=_PAGE, after=after)
    return page.data, page.has_more


async def _with_chosen(
    services: Services, caller: Caller, found: list[Project], chosen: str
) -> list[Project]:
    """Return the projects to choose from; one that is archived, or too old to be offered, if it is the chosen."""
    if chosen == ADMIN or any(project.id == chosen for project in found):
        return found
    return [*found, await projects.get(services, caller, chosen)]


async def _find(
    services: Services, caller: Caller, key_id: str, project: str
) -> ProjectKey | AdminKey:
    if project == ADMIN:
        return await admin_keys.get(services, caller, key_id)
    return await project_keys.get(services, caller, project, key_id)


def _shown_once(request: ApiRequest, made: NewProjectKey | NewAdminKey, project: str) -> Page:
    # No redirect: the key would have to be kept somewhere, or stand in an address.
    return render(request, "key_made.html", made=made, project=project)
