"""No route can be added without saying what it asks of a key."""

import re

import httpx
import pytest
from litestar import Litestar, WebSocket, get, post, websocket
from litestar.datastructures import State

from api.scopes import UndeclaredRoute, check_declared, scopes_for
from tests.api_server import Server


@get("/new_family")
async def undeclared() -> None:
    """Somebody forgot the table."""


@post("/organization/usage/reset")
async def unforeseen() -> None:
    """The family is there, but nothing was said of writing to it."""


@get("/filesystem")
async def alike() -> None:
    """Begins like a declared family, and is none of it."""


@websocket("/files/live")
async def other_kind(socket: WebSocket[None, None, State]) -> None:
    """Has no method to look up."""


@pytest.mark.parametrize("handler", [undeclared, unforeseen, alike, other_kind])
def test_an_undeclared_route_is_refused(handler: object) -> None:
    """Before the application serves anything, with the route's name."""
    application = Litestar([handler], openapi_config=None, logging_config=None)
    [path] = {route.path_format for route in application.routes}
    with pytest.raises(UndeclaredRoute, match=re.escape(path)):
        check_declared(application.routes)


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai", "/openai/v1"])
def test_a_prefix_changes_nothing(prefix: str) -> None:
    """The same route asks for the same scope wherever it is served."""
    assert scopes_for("GET", f"{prefix}/files/{{file_id}}") == ("api.files.read",)
    assert scopes_for("POST", f"{prefix}/chat/completions") == ("model.request",)


@pytest.mark.parametrize(
    "template", ["/v1/health", "/health/x", "/reference/x", "", "/v1", "/openai"]
)
def test_only_the_public_paths_are_public(template: str) -> None:
    """Exactly as they are served."""
    assert scopes_for("GET", "/health") == ()
    with pytest.raises(UndeclaredRoute):
        scopes_for("GET", template)


def test_asking_for_the_methods_needs_a_key_and_no_scope(server: Server) -> None:
    """OPTIONS answers any good key, and nobody else."""
    path = f"{server.url}/v1/files"
    assert httpx.options(path).status_code == 401
    answer = httpx.options(path, headers={"authorization": f"Bearer {server.admin_key}"})
    assert answer.status_code == 204


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "TRACE"])
def test_other_methods_reach_nothing(server: Server, method: str) -> None:
    """No route is behind them, so that none is open by mistake."""
    path = f"{server.url}/v1/files"
    assert httpx.request(method, path).status_code == 401
    headers = {"authorization": f"Bearer {server.key}"}
    assert httpx.request(method, path, headers=headers).status_code in {400, 405}
