"""What a session may do is what its key may do."""

import re

import httpx
import pytest
from litestar import Litestar, get
from litestar.handlers import HTTPRouteHandler

from api.dashboard.app import ROUTES
from api.dashboard.scopes import check_declared
from api.scopes import UndeclaredRoute
from tests.api_server import Server

FOR_EVERYBODY = {
    ("GET", "/ui/static/x"),
    ("GET", "/ui/sign-in"),
    ("POST", "/ui/sign-in"),
    ("POST", "/ui/sign-out"),
    ("POST", "/ui/preferences"),
    ("GET", "/ui"),
    ("GET", "/ui/jobs/new/name"),
    ("GET", "/ui/x"),
}
"""They show and change nothing of a project."""
SAYS_WHO_MAY = {("GET", "/ui/keys"), ("GET", "/ui/usage")}


def pages() -> set[tuple[str, str]]:
    found = set()
    for handler in ROUTES:
        assert isinstance(handler, HTTPRouteHandler)
        paths = {re.sub(r"\{\w+:\w+\}", "x", path) for path in handler.paths}
        found |= {(method, path) for method in handler.http_methods for path in paths}
    return found


def signed_in(server: Server, browser: httpx.Client, *scopes: str) -> None:
    """Sign in with a key that may do no more than `scopes`."""
    made = httpx.post(
        f"{server.url}/v1/organization/projects/proj_default/api_keys",
        headers={"authorization": f"Bearer {server.admin_key}"},
        json={"name": "narrow", "scopes": scopes},
    ).json()
    browser.post("/ui/sign-in", data={"key": made["value"]})
    page = browser.get("/ui/usage").text
    csrf = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page)
    assert csrf is not None
    browser.headers["x-csrf-token"] = csrf[1]


def test_a_key_that_may_do_nothing_here_sees_and_changes_nothing(
    server: Server, visitor: httpx.Client
):
    """Each page and each form refuses a key for webhooks, but those that hold nothing of a project."""
    signed_in(server, visitor, "api.webhooks.read")
    asked = pages() - FOR_EVERYBODY - SAYS_WHO_MAY
    assert len(asked) > 30
    let_in = {
        (method, path)
        for method, path in asked
        if "Missing scopes: " not in visitor.request(method, path).text
    }
    assert let_in == set()
    for method, path in SAYS_WHO_MAY:
        page = visitor.request(method, path)
        assert page.status_code == 200
        assert "admin" in page.text


@pytest.mark.parametrize(
    ("scope", "missing", "call"),
    [
        ("api.fine_tuning.read", "api.files.read", "GET /ui/jobs/x/report"),
        ("api.files.write", "api.files.read", "POST /ui/files/x/delete"),
        ("api.model.read", "model.request", "GET /ui/playground"),
        ("api.fine_tuning.read", "api.fine_tuning.write", "POST /ui/jobs/x/cancel"),
        ("api.fine_tuning.write", "api.files.write", "POST /ui/jobs/new/upload/training_file"),
    ],
)
def test_the_missing_scope_is_named(server, visitor: httpx.Client, scope, missing, call):
    """Who lacks one of the scopes that a page asks for reads which."""
    signed_in(server, visitor, scope)
    method, path = call.split()
    answer = visitor.request(method, path)
    assert answer.status_code == 401
    assert f"Missing scopes: {missing}" in answer.text


def test_an_undeclared_page_is_not_served():
    """A page that the table does not name stops the dashboard from beginning."""

    @get("/ui/secrets")
    async def secrets() -> None: ...

    with pytest.raises(UndeclaredRoute, match="GET /ui/secrets"):
        check_declared(Litestar([secrets], openapi_config=None).routes)
