"""The application: routes, and the layers around them."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final

from litestar import Litestar, Router
from litestar.di import Provide
from litestar.types import ASGIApp, ControllerRouterHandler

from api.bodies import ApiRequest, parse_metadata, read_asked, read_params
from api.dashboard.app import create_dashboard, split
from api.errors import ErrorsAnswered, exception_handlers
from api.headers import HeadersAdded
from api.idempotency import RepeatsRecognised
from api.paths import MatchedAsSent, decoded_parameters
from api.reference.pages import Reference
from api.routes import health, reference, system
from api.routes.batches import Batches
from api.routes.chat import ChatCompletions
from api.routes.checkpoint_permissions import CheckpointPermissions
from api.routes.completions import TextCompletions
from api.routes.deployments import ask_deployment
from api.routes.embeddings import Embeddings
from api.routes.files import Files
from api.routes.fine_tuning import FineTuning, model_limits
from api.routes.graders import Graders
from api.routes.models import Models
from api.routes.organization import (
    AdminKeys,
    ProjectKeys,
    ProjectLimits,
    Projects,
    ServiceAccounts,
)
from api.routes.responses import Responses
from api.routes.uploads import Uploads
from api.routes.usage import Usage
from api.routes.webhooks import WebhookEndpoints, event_types
from api.scopes import check_declared, scope_required
from api.security import KeyRequired
from jobs.keys import Caller
from jobs.services import Services, open_services
from schemas.settings import Settings

OpenServices = Callable[[Settings], AbstractAsyncContextManager[Services]]

_PREFIXES: Final = ("/v1", "/", "/openai", "/openai/v1")
"""SDKs whose `base_url` lacks `/v1` ask without it; Azure's clients ask under `/openai`."""
_ROUTES: Final[list[ControllerRouterHandler]] = [
    Batches,
    Files,
    Uploads,
    FineTuning,
    model_limits,
    Graders,
    Models,
    Responses,
    ChatCompletions,
    TextCompletions,
    Embeddings,
    WebhookEndpoints,
    event_types,
    CheckpointPermissions,
    Projects,
    ProjectKeys,
    ServiceAccounts,
    ProjectLimits,
    AdminKeys,
    Usage,
    system.system,
]


def create_app(settings: Settings, *, open_services: OpenServices = open_services) -> ASGIApp:
    """Build the application; it opens its services when the server starts it.

    Args:
        settings: Of the process.
        open_services: How to open what the routes need; tests pass their own.
    """
    app = create_router(settings, open_services=open_services)

    async def authenticate(key: str) -> Caller:
        services: Services = app.state.services
        return await services.keys.authenticate(key)

    def services() -> Services:
        opened: Services = app.state.services
        return opened

    recognised = RepeatsRecognised(MatchedAsSent(app), services)
    guarded = ErrorsAnswered(KeyRequired(recognised, authenticate))
    return HeadersAdded(split(guarded, create_dashboard(services)))


def create_router(settings: Settings, *, open_services: OpenServices = open_services) -> Litestar:
    """Build what is inside of the layers: the routes, each of which says what it asks of a key.

    Raises:
        UndeclaredRoute: One does not say.
        UndescribedRoute: Or is not described.
    """

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        async with open_services(settings) as services:
            app.state.services = services
            yield

    app = Litestar(
        route_handlers=[
            *(Router(prefix, route_handlers=_ROUTES) for prefix in _PREFIXES),
            Router("/openai", route_handlers=[ask_deployment]),
            health.health,
            health.ready,
            reference.root,
            reference.openapi_document,
            reference.reference_page,
            reference.stylesheet,
        ],
        dependencies={
            "services": Provide(_services, sync_to_thread=False),
            "caller": Provide(_caller, sync_to_thread=False),
            "asked": Provide(read_asked),
            "params": Provide(read_params, sync_to_thread=False),
            "metadata": Provide(parse_metadata, sync_to_thread=False),
        },
        exception_handlers=exception_handlers,
        lifespan=[lifespan],
        logging_config=None,  # the process that serves decides where logs go
        middleware=[scope_required, decoded_parameters],
        openapi_config=None,
        request_max_body_size=None,  # `api.bodies` counts, for each route
    )

    check_declared(app.routes)
    app.state.reference = Reference(app.routes)
    return app


def _services(request: ApiRequest) -> Services:
    services: Services = request.app.state.services
    return services


def _caller(request: ApiRequest) -> Caller:
    return request.user
