"""Keys by clicking: who may, what is shown once, and what an admin key opens."""

import re

import httpx
import pytest

from tests.api_server import PROJECT, Server
from tests.polling import eventually

PATH = "/ui/keys"


@pytest.fixture
def csrf(administrator: httpx.Client) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', administrator.get(PATH).text)
    assert found is not None
    return found[1]


def make(administrator: httpx.Client, csrf: str, **fields: str) -> httpx.Response:
    sent = {"csrf_token": csrf, "project": PROJECT, "name": "laptop", **fields}
    return administrator.post(PATH, data=sent)


def secret(page: httpx.Response) -> str:
    found = re.search(r'id="key" value="(sk-[\w-]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def key_id(administrator: httpx.Client, name: str) -> str:
    page = administrator.get(PATH, params={"project": PROJECT}).text
    found = re.search(rf"<bdi>{name}</bdi><br><code class=\"id\">(key_\w+)</code>", page)
    assert found is not None
    return found[1]


def files(server: Server, key: str) -> int:
    bearer = {"authorization": f"Bearer {key}"}
    return httpx.get(f"{server.url}/v1/files", headers=bearer).status_code


def test_a_key_is_shown_once(server: Server, administrator: httpx.Client, csrf):
    """The answer that makes a key shows it, is kept by no cache, and no other page shows it again."""
    made = make(administrator, csrf, name="once")
    key = secret(made)
    assert made.headers["cache-control"] == "no-store"
    assert files(server, key) == 200
    listed = administrator.get(PATH, params={"project": PROJECT}).text
    assert "once" in listed
    assert key not in listed


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({"preset": "all"}, {"GET": 200, "POST": 400}),
        ({"preset": "read"}, {"GET": 200, "POST": 401}),
        ({"preset": "restricted", "may:api.files.write": "1"}, {"GET": 401, "POST": 400}),
    ],
    ids=["all", "read", "restricted"],
)
def test_a_key_may_what_was_chosen(server: Server, administrator, csrf, fields, may):
    """Each preset makes a key that the API lets do that, and no more."""
    bearer = {"authorization": f"Bearer {secret(make(administrator, csrf, **fields))}"}
    answers = {
        method: httpx.request(method, f"{server.url}/v1/files", headers=bearer).status_code
        for method in may
    }
    assert answers == may


@pytest.mark.parametrize(
    "fields",
    [{"preset": "restricted"}, {"preset": "x"}, {"days": "soon"}, {"days": "0"}, {"name": ""}],
)
def test_what_is_refused_is_said_above_the_form(administrator, csrf, fields):
    """A restricted key without a permission is refused, not made unrestricted; so is other nonsense."""
    answer = make(administrator, csrf, **fields)
    assert answer.status_code == 400
    assert 'id="refused"' in answer.text


def test_a_rotated_key_is_another(server: Server, administrator: httpx.Client, csrf):
    """Rotating asks first, shows the new secret once, and the one before stops."""
    before = secret(make(administrator, csrf, name="turned"))
    place = f"{PATH}/{key_id(administrator, 'turned')}/rotate"
    assert "turned" in administrator.get(place, params={"project": PROJECT}).text
    sent = {"csrf_token": csrf, "project": PROJECT, "hours": "0"}
    after = secret(administrator.post(place, data=sent))
    assert files(server, after) == 200
    eventually(lambda: files(server, before) == 401)


def test_a_revoked_key_stops(server: Server, administrator: httpx.Client, csrf):
    """Revoking asks first; the key then opens nothing, neither the API nor the dashboard."""
    key = secret(make(administrator, csrf, name="gone"))
    place = f"{PATH}/{key_id(administrator, 'gone')}/revoke"
    assert "Revoke the key gone?" in administrator.get(place, params={"project": PROJECT}).text
    answer = administrator.post(place, data={"csrf_token": csrf, "project": PROJECT})
    assert answer.headers["location"] == f"{PATH}?project={PROJECT}"
    eventually(lambda: files(server, key) == 401)
    again = administrator.post(place, data={"csrf_token": csrf, "project": PROJECT})
    assert again.status_code == 404


def test_admin_keys_are_made_too(server: Server, administrator: httpx.Client, csrf):
    """In the place of a project stand the admin keys, which open no project."""
    key = secret(make(administrator, csrf, project="admin", name="second", days="30"))
    assert key.startswith("sk-admin-")
    assert "second" in administrator.get(PATH, params={"project": "admin"}).text
    assert files(server, key) == 401


def test_a_projects_key_manages_no_keys(reader: httpx.Client):
    """A session has no more power than its key: it sees what to do, and no form of it is obeyed."""
    page = reader.get(PATH)
    assert "retune keys create" in page.text
    assert "key_" not in page.text.replace("key_…", "")
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page.text)
    assert found is not None
    sent = {"csrf_token": found[1], "project": PROJECT, "name": "mine"}
    for path in (PATH, f"{PATH}/key_1/rotate", f"{PATH}/key_1/revoke"):
        answer = reader.post(path, data=sent)
        assert answer.status_code == 401
        assert "Your key may not do this" in answer.text


def test_an_admin_key_begins_with_the_keys(administrator: httpx.Client):
    """The first page of an admin key is one that it has something to see on."""
    assert administrator.get("/ui").headers["location"] == PATH


@pytest.mark.parametrize("page", ["jobs", "jobs/new", "files", "playground", "jobs/ftjob-1"])
def test_pages_of_a_project_say_that_they_want_its_key(administrator: httpx.Client, page):
    """To an admin key a project's page is neither an empty list nor an error: it says whose key it wants."""
    answer = administrator.get(f"/ui/{page}")
    assert answer.status_code == 403
    assert "Sign in with a key of that project" in answer.text
