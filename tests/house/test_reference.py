"""The API's description and its pages: true of the routes, and of OpenAI's SDK."""

import io
import re
from collections.abc import Iterator
from urllib.parse import unquote

import httpx
import jsonschema
import openai
import pytest
from pydantic import TypeAdapter

from api.openapi.document import UndescribedRoute, find_calls
from api.openapi.examples import PATH_VALUES
from api.openapi.operations import OPERATIONS
from api.reference import pages
from api.reference.snippets import curl, python
from tests.api.routes import described, served_routes

ROUTES = served_routes()
DOCUMENT = described()
CALLS = find_calls(ROUTES)
REFERENCE = pages.Reference(ROUTES)


@pytest.fixture
def requests() -> list[httpx.Request]:
    """What the SDK sent."""
    return []


@pytest.fixture
def client(requests: list[httpx.Request]) -> Iterator[openai.OpenAI]:
    """The SDK, whose requests end here."""

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        requests.append(request)
        return httpx.Response(200, json={"data": [], "has_more": False})

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as http,
        openai.OpenAI(
            base_url="http://here/v1", api_key="key", admin_api_key="admin", http_client=http
        ) as client,
    ):
        yield client


def run(line: str, client: openai.OpenAI) -> None:
    """Do what a page tells its reader to do."""
    eval(line, {"client": client, "open": lambda name, _: (name, io.BytesIO(b"x"))})  # noqa: S307 - our own line


@pytest.mark.parametrize("key", OPERATIONS)
def test_each_line_of_python_makes_its_call(
    key: str, client: openai.OpenAI, requests: list[httpx.Request]
) -> None:
    """With OpenAI's SDK as it is: method, path, query, body and key are the route's."""
    method, path = key.split()
    _, operation = OPERATIONS[key]
    run(python(method, path, operation), client)
    (sent,) = requests
    assert (sent.method, unquote(sent.url.path)) == (method, path.format_map(PATH_VALUES))
    assert dict(sent.url.params) == {name: str(value) for name, value in operation.query.items()}
    is_admins = path.startswith("/v1/organization")
    assert sent.headers["authorization"] == f"Bearer {'admin' if is_admins else 'key'}"
    if operation.file:
        assert f'name="{operation.file}"'.encode() in sent.content
    elif operation.body:
        body = TypeAdapter(dict).validate_json(sent.content)
        assert body == dict(operation.body)


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.key)
def test_each_example_is_a_good_request(call) -> None:
    """The class that the route reads takes it."""
    for part, _, model in call.types():
        if part == "body":
            model.model_validate(dict(call.operation.body))
        elif part == "query":
            model.model_validate(dict(call.operation.query))


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.key)
def test_each_example_of_an_answer_fits_its_schema(call) -> None:
    """So no page shows a field that is never there."""
    described = DOCUMENT["paths"][call.path][call.method.lower()]["responses"].get("200", {})
    for content in described.get("content", {}).values():
        if "example" in content:
            schema = {**content["schema"], "components": DOCUMENT["components"]}
            jsonschema.validate(content["example"], schema, jsonschema.Draft202012Validator)


@pytest.mark.parametrize("key", OPERATIONS)
def test_commands_name_the_call(key: str) -> None:
    """With the address and the right key from the environment."""
    method, path = key.split()
    command = curl(method, path, OPERATIONS[key][1])
    assert f'"$OPENAI_BASE_URL{path.removeprefix("/v1").format_map(PATH_VALUES)}' in command
    assert ("OPENAI_ADMIN_KEY" in command) == path.startswith("/v1/organization")
    implied = "POST" if " -d " in command or " -F " in command else "GET"
    assert f"-X {method} " in command or implied == method


def test_every_reference_leads_somewhere() -> None:
    """And nothing is described that nothing refers to."""
    named = DOCUMENT["components"]["schemas"]
    refs = set(re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)))
    assert refs == named.keys()


def test_names_of_operations_are_unique() -> None:
    """So they can be anchors, and names of functions in generated clients."""
    names = [
        method["operationId"] for path in DOCUMENT["paths"].values() for method in path.values()
    ]
    assert len(set(names)) == len(names)


def test_a_route_without_description_is_not_served() -> None:
    """It is found out when the application is made."""
    with pytest.raises(UndescribedRoute, match="GET /v1/models"):
        find_calls([route for route in ROUTES if route.path_format != "/v1/models"])


def test_fields_say_what_their_docstrings_say() -> None:
    """And what is not OpenAI's is marked."""
    job = DOCUMENT["components"]["schemas"]["JobCreate"]["properties"]
    assert "Deprecated by OpenAI" in job["hyperparameters"]["description"]
    assert job["dry_run"]["x-extension"]
    chat = DOCUMENT["components"]["schemas"]["ChatRequest"]["properties"]
    assert chat["prediction"]["type"] == "null"


@pytest.mark.parametrize("slug", ["", *pages.SLUGS.values()])
def test_pages_hold_together(slug: str) -> None:
    """No script, nothing from elsewhere, and each link within leads to an anchor or a page."""
    html = REFERENCE.page(slug).decode()
    assert "<script" not in html
    assert "style=" not in html
    links = set(re.findall(r'(?:href|src)="([^"]+)"', html))
    anchors = set(re.findall(r'id="([^"]+)"', html))
    for link in links:
        known = {pages.OVERVIEW, pages.STYLESHEET, "/openapi.json", "data:,", *pages.SLUGS}
        path, _, anchor = link.partition("#")
        assert path in known or (not path and anchor in anchors), link


def test_streams_show_their_events() -> None:
    """On the page of each family that streams."""
    for slug in ("chat", "completions", "responses"):
        assert "text/event-stream" in REFERENCE.page(slug).decode()


def test_pages_are_made_of_files_that_come_with_the_package() -> None:
    """The stylesheet lies beside the templates, which the pages above were made of."""
    assert pages.stylesheet().startswith(":root")
