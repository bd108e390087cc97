"""The dashboard as an application of its own beside the API: its own routes, its own way in, its own errors."""

from collections.abc import Callable
from functools import cache
from typing import Final

from litestar import Litestar, get
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from api.bodies import ApiRequest, read_params
from api.dashboard.assets import static_file
from api.dashboard.guard import SessionRequired, SignInNeeded, signed_in_of, with_page_headers
from api.dashboard.pages import error_page, to_sign_in
from api.dashboard.routes import (
    compare,
    events,
    files,
    job,
    jobs,
    keys,
    models,
    new_job,
    playground,
    report,
    sign_in,
    system,
    usage,
)
from api.dashboard.scopes import check_declared, scope_required
from jobs.changes import Changes
from jobs.keys import Caller
from jobs.services import Services
from jobs.sessions import Sessions

PATH: Final = "/ui"


@get(PATH + "/{rest:path}")
async def nowhere(rest: FromPath[str]) -> None:
    """Be whatever no other page is: who is signed in stays so in front of it.

    Raises:
        NotFoundException: Always.
    """
    raise NotFoundException(rest)


ROUTES: Final[list[ControllerRouterHandler]] = [
    static_file,
    sign_in.form,
    sign_in.sign_in,
    sign_in.sign_out,
    sign_in.preferences,
    jobs.home,
    jobs.list_all,
    new_job.form,
    new_job.create,
    new_job.estimate,
    new_job.code,
    new_job.upload,
    new_job.name,
    files.list_all,
    files.upload,
    files.show,
    files.content,
    files.delete,
    job.show,
    job.metrics,
    job.metrics_file,
    job.examples,
    job.confirm_cancel,
    job.cancel,
    job.pause,
    job.resume,
    events.of_jobs,
    events.of_models,
    events.of_system,
    compare.show,
    playground.show,
    playground.act,
    playground.answer,
    report.show,
    models.list_all,
    models.confirm_delete,
    models.delete,
    usage.show,
    system.show,
    keys.list_all,
    keys.create,
    keys.confirm_rotate,
    keys.rotate,
    keys.confirm_revoke,
    keys.revoke,
    nowhere,
]


def create_dashboard(services: Callable[[], Services]) -> ASGIApp:
    """Build the pages.

    Args:
        services: Of the process, once it has begun.
    """

    @cache
    def sessions() -> Sessions:
        return Sessions(services())

    @cache
    def changes() -> Changes:
        return Changes(services())

    pages = Litestar(
        route_handlers=ROUTES,
        dependencies={
            "services": Provide(services, sync_to_thread=False),
            "sessions": Provide(sessions, sync_to_thread=False),
            "changes": Provide(changes, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
            "params": Provide(read_params, sync_to_thread=False),
        },
        exception_handlers={
            SignInNeeded: to_sign_in,
            Exception: error_page,
            HTTPException: error_page,
        },
        logging_config=None,
        middleware=[lambda app: SessionRequired(app, sessions), scope_required],
        openapi_config=None,
        request_max_body_size=None,  # the guard counts forms, the routes uploads
    )
    check_declared(pages.routes)
    return with_page_headers(pages)


def split(api: ASGIApp, dashboard: ASGIApp) -> ASGIApp:
    """Return both as one application: what lies below `PATH` is the dashboard's, all else the API's."""
    below = f"{PATH}/".encode()

    async def choose(scope: Scope, receive: Receive, send: Send) -> None:
        raw_path = scope.get("raw_path", b"")
        is_page = raw_path == PATH.encode() or raw_path.startswith(below)
        await (dashboard if is_page else api)(scope, receive, send)

    return choose


def _caller(request: ApiRequest) -> Caller:
    return signed_in_of(request).caller
