"""`/v1/uploads`."""

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from api.bodies import ApiRequest
from api.uploads import PartForm, admitted, receive_part
from jobs import uploads
from jobs.keys import Caller
from jobs.services import Services
from schemas.uploads import Upload, UploadComplete, UploadCreate, UploadPart

_COMPLETE_BYTES = 1024 * 1024
"""As many names of parts as an upload may have."""


class Uploads(Controller):
    """Send a large file in parts."""

    path = "/uploads"

    @post(status_code=200)
    async def create(
        self,
        asked: NamedDependency[UploadCreate],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Upload:
        return await uploads.create(services, caller, asked)

    @post("/{upload_id:str}/parts", status_code=200, form=PartForm)
    async def add_part(
        self,
        upload_id: FromPath[str],
        request: ApiRequest,
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> UploadPart:
        await uploads.expect_part(services, caller, upload_id)
        async with (
            services.blobs.incoming() as incoming,
            admitted(request, services.limiter, incoming),
        ):
            await receive_part(request, incoming)
            return await uploads.add_part(services, caller, upload_id, await incoming.finish())

    @post("/{upload_id:str}/complete", status_code=200, max_bytes=_COMPLETE_BYTES)
    async def complete(
        self,
        upload_id: FromPath[str],
        asked: NamedDependency[UploadComplete],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Upload:
        return await uploads.complete(services, caller, upload_id, asked)

    @post("/{upload_id:str}/cancel", status_code=200)
    async def cancel(
        self,
        upload_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> Upload:
        return await uploads.cancel(services, caller, upload_id)
