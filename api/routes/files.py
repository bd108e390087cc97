"""`/v1/files`."""

from typing import Literal

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import File as FileResponse
from pydantic import Field

from api.bodies import ApiRequest
from api.uploads import FileForm, receive_file
from jobs import files
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import CursorPage, Schema
from schemas.files import File, FileDeleted


class ListFiles(Schema):
    """The query of a list of files."""

    purpose: str | None = None
    limit: int = Field(default=10_000, ge=0, le=10_000)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class Files(Controller):
    """Upload, look up, read and delete files."""

    path = "/files"

    @post(status_code=200, form=FileForm)
    async def upload(
        self,
        request: ApiRequest,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> File:
        return await receive_file(request, services, caller)

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListFiles],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[File]:
        return await files.list_files(
            services,
            caller,
            purpose=params.purpose,
            limit=params.limit,
            order=params.order,
            after=params.after,
        )

    @get("/{file_id:str}")
    async def retrieve(
        self,
        file_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> File:
        return await files.get(services, caller, file_id)

    @get("/{file_id:str}/content")
    async def content(
        self,
        file_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> FileResponse:
        file, path = await files.content_path(services, caller, file_id)
        return FileResponse(
            path,
            filename=file.filename,
            media_type="application/octet-stream",
            content_disposition_type="attachment",
        )

    @delete("/{file_id:str}", status_code=200)
    async def remove(
        self,
        file_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> FileDeleted:
        return await files.delete(services, caller, file_id)
