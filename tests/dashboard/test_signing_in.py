"""Who gets in, what a session opens, and what ends it."""

import re

import httpx
import pytest

from api.dashboard.routes.sign_in import Attempts
from tests.api_server import Server
from tests.polling import eventually

SIGN_IN = "/ui/sign-in"


def token(page: str) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page)
    assert found is not None
    return found[1]


def test_a_key_opens_the_dashboard(server: Server, visitor: httpx.Client):
    """Whoever signs in with an API key comes to the page that they wanted."""
    wanted = visitor.get("/ui/jobs?after=ftjob-1")
    assert wanted.headers["location"] == "/ui/sign-in?next=%2Fui%2Fjobs%3Fafter%3Dftjob-1"
    answer = visitor.post(SIGN_IN, data={"key": server.key, "next": "/ui/files"})
    assert answer.headers["location"] == "/ui/files"
    assert visitor.get("/ui/jobs").status_code == 200


def test_the_cookie_is_kept_from_scripts_and_other_sites(server: Server, visitor: httpx.Client):
    """The cookie is for HTTP only, and for requests that begin on this site."""
    answer = visitor.post(SIGN_IN, data={"key": server.key})
    attributes = answer.headers["set-cookie"].lower()
    assert "httponly" in attributes
    assert "samesite=strict" in attributes


@pytest.mark.parametrize("key", ["", "sk-proj-wrong", "☃"])
def test_a_wrong_key_opens_nothing(visitor: httpx.Client, key):
    """A key that is none leads back to the form, which says so."""
    answer = visitor.post(SIGN_IN, data={"key": key})
    assert answer.status_code == 401
    assert "This key opens nothing" in answer.text
    assert not visitor.cookies


def test_a_session_is_new_at_each_sign_in(server: Server, reader: httpx.Client):
    """A cookie that was there before signing in opens nothing after it: none can be fixed in advance."""
    before = reader.cookies["retune_session"]
    page = reader.get("/ui/jobs").text
    reader.post(SIGN_IN, data={"key": server.key, "csrf_token": token(page)})
    assert reader.cookies["retune_session"] != before
    old = httpx.get(f"{server.url}/ui/jobs", cookies={"retune_session": before})
    assert old.status_code == 401


def test_an_invented_cookie_opens_nothing(server: Server, visitor: httpx.Client):
    """A cookie that somebody planted is no session, and does not become one by signing in."""
    visitor.cookies.set("retune_session", "planted")
    visitor.post(SIGN_IN, data={"key": server.key})
    planted = httpx.get(f"{server.url}/ui/jobs", cookies={"retune_session": "planted"})
    assert planted.status_code == 401


def test_signing_out_ends_the_session(server: Server, reader: httpx.Client):
    """After signing out the cookie opens nothing, whoever kept it."""
    kept = reader.cookies["retune_session"]
    page = reader.get("/ui/jobs").text
    reader.post("/ui/sign-out", data={"csrf_token": token(page)})
    again = httpx.get(f"{server.url}/ui/jobs", cookies={"retune_session": kept})
    assert again.status_code == 401


def test_a_session_opens_no_api_and_a_key_no_page(server: Server, reader: httpx.Client):
    """The cookie is nothing to the API, the key nothing to the dashboard."""
    assert reader.get("/v1/models").status_code == 401
    bearer = {"authorization": f"Bearer {server.key}"}
    assert httpx.get(f"{server.url}/ui/jobs", headers=bearer).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_another_site_changes_nothing(reader: httpx.Client, headers):
    """A form of another site is refused even with the right token."""
    page = reader.get("/ui/jobs").text
    answer = reader.post("/ui/sign-out", data={"csrf_token": token(page)}, headers=headers)
    assert answer.status_code == 403
    assert reader.get("/ui/jobs").status_code == 200


def test_an_old_browser_is_known_by_its_origin(server: Server):
    """Where a browser does not say which site asks, its origin must be this server's."""
    for origin, status in [("http://evil.example", 403), ("null", 403), (server.url, 401)]:
        answer = httpx.post(f"{server.url}{SIGN_IN}", data={"key": "x"}, headers={"origin": origin})
        assert answer.status_code == status
    assert httpx.post(f"{server.url}{SIGN_IN}", data={"key": "x"}).status_code == 403


@pytest.mark.parametrize("sent", [{}, {"csrf_token": ""}, {"csrf_token": "0" * 64}])
def test_a_form_without_the_token_is_refused(reader: httpx.Client, sent):
    """Nothing changes without the token that only a page of this session has."""
    assert reader.post("/ui/sign-out", data=sent).status_code == 403
    assert reader.get("/ui/jobs").status_code == 200


@pytest.mark.parametrize(
    "elsewhere",
    [
        "//evil.example",
        "https://evil.example/ui/",
        "/ui/../..//evil.example",
        "/ui\\evil",
        "/v1/files",
    ],
)
def test_nobody_is_led_elsewhere(server: Server, visitor: httpx.Client, elsewhere):
    """Signing in leads to a page of the dashboard, whatever the link said."""
    answer = visitor.post(SIGN_IN, data={"key": server.key, "next": elsewhere})
    assert answer.headers["location"].startswith("/ui/")
    assert "evil" not in answer.headers["location"].partition("/ui/")[0]


def test_pages_keep_to_themselves(reader: httpx.Client):
    """Each page forbids scripts and styles of others and inline ones, frames, and keeping a copy."""
    for path in ("/ui/jobs", SIGN_IN, "/ui/nowhere", "/ui/jobs/ftjob-nowhere"):
        headers = reader.get(path).headers
        assert "unsafe" not in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"


def test_who_guesses_has_to_wait():
    """After ten wrong keys in a minute an address waits for what is left of it; others do not."""
    now = [100.0]
    attempts = Attempts(most=10, within=60, clock=lambda: now[0])
    for _ in range(10):
        assert attempts.wait("a") == 0
        attempts.fail("a")
        now[0] += 1
    assert attempts.wait("a") == pytest.approx(50)
    assert attempts.wait("b") == 0
    now[0] += 51
    assert attempts.wait("a") == 0


def test_a_revoked_key_ends_its_sessions(server: Server, visitor: httpx.Client):
    """A session does not outlive its key by more than the second in which keys are remembered."""
    admin = {"authorization": f"Bearer {server.admin_key}"}
    account = httpx.post(
        f"{server.url}/v1/organization/projects/proj_default/service_accounts",
        headers=admin,
        json={"name": "for a while"},
    ).json()
    visitor.post(SIGN_IN, data={"key": account["api_key"]["value"]})
    assert visitor.get("/ui/jobs").status_code == 200
    httpx.delete(
        f"{server.url}/v1/organization/projects/proj_default/service_accounts/{account['id']}",
        headers=admin,
    ).raise_for_status()
    eventually(lambda: visitor.get("/ui/jobs").status_code == 303)


def test_a_rotated_key_ends_its_sessions(server: Server, visitor: httpx.Client):
    """Whoever signed in with a secret that a rotation ended is signed out, whatever the key's new secret."""
    admin = {"authorization": f"Bearer {server.admin_key}"}
    with httpx.Client(base_url=f"{server.url}/v1/organization", headers=admin) as organization:
        made = organization.post("/admin_api_keys", json={"name": "to be rotated"}).json()
        visitor.post(SIGN_IN, data={"key": made["value"]})
        assert visitor.get("/ui/keys").status_code == 200
        url = f"/admin_api_keys/{made['id']}/rotate"
        organization.post(url, json={}).raise_for_status()
    eventually(lambda: visitor.get("/ui/keys").status_code == 303)


def test_single_keys_stay_off(reader: httpx.Client):
    """Who turned the keys for moving about off finds them off on every page, until they turn them on."""
    csrf = token(reader.get("/ui/files").text)
    for choice, is_on in (("off", False), ("on", True), ("sideways", True)):
        sent = {"csrf_token": csrf, "shortcuts": choice, "next": "/ui/files"}
        assert reader.post("/ui/preferences", data=sent).headers["location"] == "/ui/files"
        assert (" data-on>" in reader.get("/ui/models").text) == is_on
