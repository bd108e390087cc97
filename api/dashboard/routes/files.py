"""`/ui/files`: the list with its upload, and the page of a file."""

import asyncio
from typing import Final

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import File as FileResponse
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard.pages import Page, render
from api.uploads import receive_file
from jobs import files
from jobs.file_preview import N_LINES, preview
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema
from schemas.errors import ApiError, Conflict
from schemas.files import MAX_FILE_BYTES, File, UploadPurpose
from schemas.fine_tuning import Job

PATH: Final = "/ui/files"
SHOWN_PURPOSES: Final = ("fine-tune", "fine-tune-results", "batch", "batch_output")
"""That the list can be narrowed to."""
_UPLOADED: Final[tuple[UploadPurpose, ...]] = ("fine-tune", "batch")
"""What this server has a use for."""
_PAGE: Final = 50


class ListFiles(Schema):
    """The query of the list."""

    after: str | None = None
    purpose: str | None = None


@get(PATH)
async def list_all(
    request: ApiRequest,
    params: NamedDependency[ListFiles],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """List the newest files, and take new ones."""
    return await _list(request, services, caller, params)


@post(PATH)
async def upload(
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page | Redirect | Response[File]:
    """Take a file: from a form, and lead to its page; from a script, and say what it became."""
    wants_json = request.headers.get("accept") == "application/json"
    try:
        file = await receive_file(request, services, caller)
    except ApiError as exc:
        if wants_json:
            raise
        return await _list(request, services, caller, ListFiles(), refused=exc)
    if wants_json:
        return Response(file, status_code=201)
    return Redirect(f"{PATH}/{file.id}", status_code=303)


@get(PATH + "/{file_id:str}")
async def show(
    request: ApiRequest,
    file_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page:
    """Show a file: what it is, its first examples, and who uses it."""
    return await _file(request, services, caller, file_id)


@get(PATH + "/{file_id:str}/content")
async def content(
    file_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> FileResponse:
    """Let a file be saved; never shown: it is whatever somebody uploaded."""
    file, path = await files.content_path(services, caller, file_id)
    return FileResponse(
        path,
        filename=file.filename,
        media_type="application/octet-stream",
        content_disposition_type="attachment",
    )


@post(PATH + "/{file_id:str}/delete")
async def delete(
    request: ApiRequest,
    file_id: FromPath[str],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> Page | Redirect:
    """Delete a file that no job still needs."""
    try:
        await files.delete_unused(services, caller, file_id)
    except Conflict as exc:
        return await _file(request, services, caller, file_id, refused=exc)
    return Redirect(PATH, status_code=303)


async def _list(
    request: ApiRequest,
    services: Services,
    caller: Caller,
    params: ListFiles,
    *,
    refused: ApiError | None = None,
) -> Page:
    """Return the list, with what was refused where something was."""
    caller.ensure_may("api.files.read")
    found = await files.list_files(
        services, caller, purpose=params.purpose, limit=_PAGE, order="desc", after=params.after
    )
    return render(
        request,
        "files.html",
        status_code=refused.status if refused else 200,
        files=found.data,
        has_more=found.has_more,
        uses=await _uses(services, caller, [file.id for file in found.data]),
        purpose=params.purpose,
        purposes=SHOWN_PURPOSES,
        upload_purposes=_UPLOADED,
        max_bytes=MAX_FILE_BYTES,
        may_write="api.files.write" in caller.scopes,
        refused=refused,
    )


async def _file(
    request: ApiRequest,
    services: Services,
    caller: Caller,
    file_id: str,
    *,
    refused: ApiError | None = None,
) -> Page:
    file, path = await files.content_path(services, caller, file_id)
    return render(
        request,
        "file.html",
        status_code=refused.status if refused else 200,
        file=file,
        n_lines=N_LINES,
        lines=await asyncio.to_thread(preview, path),
        uses=(await _uses(services, caller, [file.id])).get(file.id, []),
        may_write="api.files.write" in caller.scopes,
        refused=refused,
    )


async def _uses(services: Services, caller: Caller, file_ids: list[str]) -> dict[str, list[Job]]:
    """Return the jobs of each file, as far as the key may see jobs."""
    if "api.fine_tuning.read" not in caller.scopes:
        return {}
    return await files.uses(services, caller, file_ids)
