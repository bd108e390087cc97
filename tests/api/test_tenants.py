"""Three tenants on one server, and every route of it: what is one's is, for the others, not there."""

import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from api.scopes import scopes_for
from jobs.bases.catalog import NANO_DIRECTORY
from schemas.scopes import ADMIN_SCOPES, PROJECT_SCOPES
from tests.api.tenants import HELLO, MARKER, Route, Tenant, all_routes, belongings
from tests.api_server import Server, running_server

ROUTES = all_routes()
OURS = [route for route in ROUTES if not route.is_admins]
ABOUT_ONE = [route for route in OURS if route.parameters]
LISTS = [route for route in OURS if route.method == "GET" and not route.parameters]
SHARED_LISTS = {"/v1/fine_tuning/model_limits", "/v1/webhook_event_types", "/v1/system"}
"""The same for everybody."""
BOTH_KEYS = ("/v1/fine_tuning/checkpoints/", "/v1/system")
"""Where an admin key may also come: `api.scopes` says why."""
MISSING = "You have insufficient permissions for this operation. Missing scopes: "

NewKey = Callable[..., str]
Tenants = tuple[Tenant, Tenant, Tenant]


@pytest.fixture(scope="module")
def server(redis_server_url: str) -> Iterator[Server]:
    """A server whose bases can render a conversation."""
    with running_server(redis_server_url, base_files=NANO_DIRECTORY) as server:
        yield server


@pytest.fixture(scope="module")
def admin(server: Server) -> Iterator[Tenant]:
    """Whoever holds an admin key: of no project."""
    headers = {"authorization": f"Bearer {server.admin_key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield Tenant("", client)


@pytest.fixture(scope="module")
def new_key(admin: Tenant) -> NewKey:
    """Make a key of a project, restricted or not."""

    def make(project: str, *scopes: str) -> str:
        path = f"/v1/organization/projects/{project}/api_keys"
        return admin.make(path, json={"name": "k", "scopes": scopes})["value"]

    return make


@pytest.fixture(scope="module")
def tenants(server: Server, admin: Tenant, new_key: NewKey) -> Iterator[Tenants]:
    """A, of the default project, and B and C, of their own."""
    made = [admin.make("/v1/organization/projects", json={"name": name})["id"] for name in "bc"]
    keys = {"proj_default": server.key} | {project: new_key(project) for project in made}
    a, b, c = (
        Tenant(
            project,
            httpx.Client(
                base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=30
            ),
        )
        for project, key in keys.items()
    )
    yield a, b, c
    for tenant in (a, b, c):
        tenant.http.close()


@pytest.fixture(scope="module")
def ids(server: Server, tenants: Tenants) -> dict[str, str]:
    """One of each thing, all A's; C is let ask A's model."""
    a, _, c = tenants
    return belongings(server, a, guest=c.project_id)


def with_key(server: Server, key: str, route: Route) -> httpx.Response:
    """Ask a route with another key, about things that are not there."""
    headers = {"authorization": f"Bearer {key}"}
    url = route.url(dict.fromkeys(route.parameters, "x"))
    return httpx.request(route.method, server.url + url, headers=headers)


def lacks(answer: httpx.Response) -> str | None:
    """The scope whose absence is the reason of a refusal."""
    if answer.status_code != 401:
        return None
    found = re.match(re.escape(MISSING) + r"([a-z._]+)\.", answer.json()["error"]["message"])
    return found[1] if found else None


def test_there_are_routes() -> None:
    """Or all that follows would prove nothing."""
    assert len(OURS) > 20
    assert len(ROUTES) > len(OURS)
    assert {route.method for route in ROUTES} == {"GET", "POST", "DELETE"}


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_no_key(server: Server, route: Route) -> None:
    """No route answers without a key."""
    url = route.url(dict.fromkeys(route.parameters, "x"))
    answer = httpx.request(route.method, server.url + url)
    assert answer.status_code == 401
    assert answer.json()["error"]["message"].startswith("You didn't provide an API key.")


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_route_asks_for_a_scope(route: Route) -> None:
    """It is one that keys can have; reading asks to read, all else for more than that."""
    needed = scopes_for(route.method, route.path)
    assert needed
    assert set(needed) <= PROJECT_SCOPES | ADMIN_SCOPES
    assert all(scope.endswith(".read") == (route.method == "GET") for scope in needed)


@pytest.mark.parametrize("route", OURS, ids=str)
def test_a_read_only_key_changes_nothing(server: Server, new_key: NewKey, route: Route) -> None:
    """It reads on every route that reads, and is refused on every other, in OpenAI's words."""
    answer = with_key(server, new_key("proj_default", "api.all.read"), route)
    is_refused = lacks(answer) is not None
    assert is_refused == (route.method != "GET")


@pytest.mark.parametrize("route", OURS, ids=str)
def test_a_restricted_key_does_what_it_may(server: Server, new_key: NewKey, route: Route) -> None:
    """With the one scope it passes; with all others it does not, and learns which one it lacks."""
    needed = scopes_for(route.method, route.path)[0]
    assert lacks(with_key(server, new_key("proj_default", needed), route)) is None
    others = sorted(PROJECT_SCOPES - {needed})
    assert lacks(with_key(server, new_key("proj_default", *others), route)) == needed


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_an_admin_key_administers_and_nothing_else(server: Server, route: Route) -> None:
    """It opens no project; a project's key opens nothing of the organization."""
    asks_admin = lacks(with_key(server, server.admin_key, route)) is None
    asks_project = lacks(with_key(server, server.key, route)) is None
    is_shared = route.path.startswith(BOTH_KEYS)
    assert asks_admin == (route.is_admins or is_shared)
    assert asks_project == (not route.is_admins)


@pytest.mark.parametrize("route", ABOUT_ONE, ids=str)
def test_what_is_anothers_is_not_there(tenants: Tenants, ids: dict[str, str], route: Route) -> None:
    """B is told 404, in the very words in which he is told of what never was."""
    unknown = set(route.parameters) - set(ids)
    assert not unknown, f"say in tests/api/tenants.py how a tenant comes by {unknown}"
    _, b, _ = tenants
    mine = {name: ids[name] for name in route.parameters}
    # Another's id, and one like it that nobody has.
    never = {name: re.sub(r"\w{6}(?=$|/)", "Zz9Zz9", value) for name, value in mine.items()}
    found = b.ask(route, mine)
    assert found.status_code == 404, f"{found.text}; does it need a body in tests/api/tenants.py?"
    told = b.ask(route, never).text
    for name in route.parameters:
        told = told.replace(never[name], mine[name])
    if "path" not in route.parameters:
        assert found.text == told
    assert MARKER not in found.text


@pytest.mark.parametrize("route", LISTS, ids=str)
def test_nothing_of_anothers_is_in_a_list(
    tenants: Tenants, ids: dict[str, str], route: Route
) -> None:
    """Neither B nor C, who may ask A's model, sees any of what A sees."""
    a, *others = tenants
    values = [value for name, value in ids.items() if name != "path"]
    if route.path not in SHARED_LISTS:
        assert any(value in a.ask(route, {}).text for value in values)
    for tenant in others:
        listed = tenant.ask(route, {})
        assert listed.status_code == 200
        assert not any(value in listed.text for value in (*values, MARKER))


@pytest.mark.parametrize(
    "route",
    [route for route in ABOUT_ONE if route.method == "GET"],
    ids=str,
)
def test_the_owner_finds_everything(tenants: Tenants, ids: dict[str, str], route: Route) -> None:
    """The 404s above are about real things, and nobody's attempt did them any harm."""
    a, _, _ = tenants
    assert a.ask(route, {name: ids[name] for name in route.parameters}).status_code == 200


@pytest.mark.parametrize("after", ["file_id", "job_id", "batch_id", "completion_id", "endpoint_id"])
def test_a_page_never_begins_after_anothers(
    tenants: Tenants, ids: dict[str, str], after: str
) -> None:
    """A foreign cursor is refused as one that never was."""
    path = {
        "file_id": "/v1/files",
        "job_id": "/v1/fine_tuning/jobs",
        "batch_id": "/v1/batches",
        "completion_id": "/v1/chat/completions",
        "endpoint_id": "/v1/webhook_endpoints",
    }[after]
    _, b, _ = tenants
    answer = b.http.get(path, params={"after": ids[after]})
    assert answer.status_code in {400, 404}
    assert answer.json()["error"]["param"] == "after"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/fine_tuning/jobs", {"model": "nano", "training_file": "{file_id}"}),
        ("/v1/fine_tuning/jobs", {"model": "{model}", "training_file": "MINE"}),
        (
            "/v1/fine_tuning/jobs",
            {"model": "nano", "training_file": "MINE", "validation_file": "{file_id}"},
        ),
        (
            "/v1/batches",
            {
                "input_file_id": "{file_id}",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
        ),
        ("/v1/chat/completions", {"model": "{model}", "messages": HELLO}),
        ("/v1/completions", {"model": "{model}", "prompt": "hello"}),
        ("/v1/embeddings", {"model": "{model}", "input": "hello"}),
        ("/v1/responses", {"model": "{model}", "input": "hello"}),
        (
            "/v1/responses",
            {"model": "nano", "input": "hello", "previous_response_id": "{response_id}"},
        ),
    ],
)
def test_what_is_anothers_cannot_be_used(
    tenants: Tenants, ids: dict[str, str], path: str, body: dict
) -> None:
    """Named in a body it is refused as well, and told nothing of."""
    _, b, _ = tenants
    line = (
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    values = ids | {"MINE": b.upload(line * 12, "fine-tune")}
    sent = {
        name: value.format_map(values).replace("MINE", values["MINE"])
        if isinstance(value, str)
        else value
        for name, value in body.items()
    }
    answer = b.http.post(path, json=sent)
    assert answer.status_code in {400, 404}
    assert MARKER not in answer.text


def test_a_guest_asks_the_model_and_gets_no_further(tenants: Tenants, ids: dict[str, str]) -> None:
    """C may ask A's model and look at it; of all that hangs on it C sees nothing."""
    _, _, c = tenants
    asked = c.http.post("/v1/chat/completions", json={"model": ids["model"], "messages": HELLO})
    assert asked.status_code == 200
    allowed = {"GET /v1/models/{name}", "POST /openai/deployments/{path}"}
    for route in ABOUT_ONE:
        answer = c.ask(route, {name: ids[name] for name in route.parameters})
        assert answer.status_code == (200 if str(route) in allowed else 404), str(route)
