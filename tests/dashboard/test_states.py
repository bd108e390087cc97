"""Pages with nothing on them and pages that failed: each says what is the matter, and what to do next."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest

from api.app import create_app
from api.dashboard.messages import LANGUAGES, Messages
from api.dashboard.scopes import _NEEDED
from jobs.bases.catalog import Catalog
from tests.api_server import Server, opener, running_server, serving

BROWSER = {"sec-fetch-site": "same-origin", "accept": "text/html"}
ORGANIZATION = "/v1/organization/projects"
EMPTY = {
    "/ui/jobs": ("jobs.empty", 'href="/ui/jobs/new"'),
    "/ui/jobs?tab=failed": ("jobs.none_found", 'href="/ui/jobs"'),
    "/ui/jobs?search=nothing": ("jobs.none_found", 'href="/ui/jobs"'),
    "/ui/jobs/new": ("create.no_files", 'id="training_upload"'),
    "/ui/compare": ("compare.too_few", 'href="/ui/jobs/new"'),
    "/ui/files": ("files.empty", 'type="file"'),
    "/ui/files?purpose=batch": ("files.none_found", 'href="/ui/files"'),
    "/ui/models": ("models.empty", 'href="/ui/jobs/new"'),
    "/ui/models?search=nothing": ("models.empty", 'href="/ui/jobs/new"'),
    "/ui/playground": ("playground.unasked", 'value="ask"'),
    "/ui/usage": ("usage.no_jobs", "retune keys create --admin"),
    "/ui/keys": ("keys.elsewhere", "retune keys create"),
}
"""What each page says in a project with nothing in it, and what leads on."""
NO_BASE = {
    "/ui/jobs/new": ("create.no_base", 'href="/ui/system"'),
    "/ui/playground": ("playground.empty", "retune bases"),
    "/ui/models": ("playground.empty", "retune bases"),
    "/ui/system": ("playground.empty", "retune bases"),
}
GONE = {
    "/ui/jobs/ftjob-none": "/ui/jobs",
    "/ui/jobs/ftjob-none/report": "/ui/jobs",
    "/ui/jobs/ftjob-none/examples": "/ui/jobs",
    "/ui/jobs/ftjob-none/cancel": "/ui/jobs",
    "/ui/jobs/new?like=ftjob-none": "/ui/jobs",
    "/ui/compare?jobs=ftjob-none,ftjob-no": "/ui",
    "/ui/files/file-none": "/ui/files",
    "/ui/files/file-none/content": "/ui/files",
    "/ui/models/delete?model=none": "/ui/models",
}
"""What is not there, and the page that lists what is."""
PAGES = sorted(path for method, path in _NEEDED if method == "GET" and "{" not in path)


@pytest.fixture(scope="module")
def new_key(server: Server) -> str:
    """A key of a project with nothing in it."""
    admin = {"authorization": f"Bearer {server.admin_key}"}
    with httpx.Client(base_url=f"{server.url}{ORGANIZATION}", headers=admin) as organization:
        project = organization.post("", json={"name": "new"}).json()["id"]
        account = organization.post(f"/{project}/service_accounts", json={"name": "a"}).json()
    value: str = account["api_key"]["value"]
    return value


@pytest.fixture(scope="module")
def newcomer(server: Server, new_key: str) -> Iterator[httpx.Client]:
    """Somebody in front of that project."""
    with signed_in(server.url, new_key) as client:
        yield client


@contextmanager
def signed_in(url: str, key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, headers=BROWSER, timeout=30) as client:
        assert client.post("/ui/sign-in", data={"key": key}).status_code == 303
        yield client


@pytest.mark.parametrize("path", EMPTY)
def test_an_empty_page_says_what_to_do(newcomer: httpx.Client, path):
    """Where there is nothing yet, a page says so in either language, and leads on."""
    key, leads_on = EMPTY[path]
    for language in LANGUAGES:
        page = newcomer.get(path, headers={"accept-language": language}).text
        assert Messages(language)(key) in page
        assert leads_on in page


@pytest.fixture(scope="module")
def without_bases(server: Server, new_key: str) -> Iterator[httpx.Client]:
    """A server on which nobody has prepared a base model."""
    bare = opener(server.engine, offered=Catalog([]))
    application = create_app(server.settings, open_services=bare)
    with serving(application, server.settings) as url, signed_in(url, new_key) as client:
        yield client


@pytest.mark.parametrize("path", NO_BASE)
def test_without_a_base_pages_say_how_to_get_one(without_bases: httpx.Client, path):
    """Where there is no model to train or ask, no form asks for one."""
    key, leads_on = NO_BASE[path]
    page = without_bases.get(path).text
    assert Messages("en")(key) in page
    assert leads_on in page


def test_a_tuned_model_without_its_base_leaves_the_playground_open(server: Server):
    """Where the base of the newest tuned model is not offered any more, the playground still opens."""
    server.add_tuned_model(base="given-up")
    with signed_in(server.url, server.key) as client:
        assert client.get("/ui/playground").status_code == 200


@pytest.mark.parametrize("path", GONE)
def test_what_is_gone_leads_to_what_is_there(reader: httpx.Client, path):
    """Of what was deleted or is another project's, a page says just that, and leads to the list."""
    answer = reader.get(path)
    assert answer.status_code == 404
    if "/examples" not in path:  # these have a page of their own
        assert "It was deleted, or it belongs to another project" in answer.text
        assert f'class="button" href="{GONE[path]}"' in answer.text


def test_a_page_that_there_is_not_keeps_its_reader(server: Server, reader: httpx.Client):
    """In front of an address that means nothing one stays signed in; who is not is asked to."""
    answer = reader.get("/ui/no/where")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert 'href="/ui/playground"' in answer.text
    stranger = httpx.get(f"{server.url}/ui/no/where", headers=BROWSER)
    assert stranger.headers["location"].startswith("/ui/sign-in?next=")


def key_that_may(server: Server, scope: str) -> str:
    answer = httpx.post(
        f"{server.url}{ORGANIZATION}/proj_default/api_keys",
        headers={"authorization": f"Bearer {server.admin_key}"},
        json={"name": scope, "scopes": [scope]},
    )
    value: str = answer.json()["value"]
    return value


@pytest.mark.parametrize(
    ("scope", "page"),
    [
        ("api.fine_tuning.read", "/ui/jobs"),
        ("api.files.read", "/ui/files"),
        ("api.model.read", "/ui/models"),
        ("api.batch.read", "/ui/jobs"),
    ],
)
def test_everybody_begins_with_what_they_may_see(server: Server, scope, page):
    """The first page is the first that the key opens; where it opens none, that says so."""
    with signed_in(server.url, key_that_may(server, scope)) as client:
        assert client.get("/ui").headers["location"] == page


@pytest.fixture(scope="module")
def restrained(server: Server) -> Iterator[httpx.Client]:
    """Somebody whose key may do nothing that a page shows."""
    with signed_in(server.url, key_that_may(server, "api.batch.read")) as client:
        yield client


@pytest.mark.parametrize("path", PAGES)
def test_who_may_not_is_told_who_may(restrained: httpx.Client, path):
    """A key without what a page asks for gets a page that says so, and a way to come in with another."""
    answer = restrained.get(path)
    assert answer.status_code == 401
    assert "Missing scopes" in answer.text
    assert "Sign in with another key" in answer.text


@pytest.fixture(scope="module")
def broken(redis_server_url: str) -> Iterator[httpx.Client]:
    """A server whose tables are gone while somebody is signed in."""
    with running_server(redis_server_url) as server, signed_in(server.url, server.key) as client:
        database = server.settings.effective_database_url.removeprefix("sqlite:///")
        with sqlite3.connect(database) as connection:
            for table in ("jobs", "files", "models"):
                connection.execute(f"ALTER TABLE {table} RENAME TO {table}_gone")
        yield client


@pytest.mark.parametrize(
    "path", ["/ui/jobs", "/ui/files", "/ui/models", "/ui/compare", "/ui/playground"]
)
def test_what_breaks_can_be_tried_again(broken: httpx.Client, path):
    """Where the server itself fails, the page says no more than that, and offers the same once more."""
    answer = broken.get(path)
    assert answer.status_code >= 500
    assert 'role="alert"' in answer.text
    assert f'class="button primary" href="{path}"' in answer.text
    assert not re.search("sqlite|Traceback|no such table", answer.text, re.IGNORECASE)


def test_a_script_is_told_in_a_piece_of_a_page(broken: httpx.Client):
    """What a script asks for and breaks is a piece of a page without a heading of its own."""
    answer = broken.get("/ui/files", headers={"hx-request": "true"})
    assert answer.status_code >= 500
    assert "<h1" not in answer.text
    assert "<html" not in answer.text
