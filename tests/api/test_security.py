"""Who may call, and what a response says of itself."""

import re
import socket
from urllib.parse import urlsplit

import httpx
import pytest

from api.security import PUBLIC_PATHS
from tests.api_server import Server

ROUTES = [
    ("POST", "/v1/files"),
    ("GET", "/v1/files"),
    ("GET", "/v1/files/file-x"),
    ("DELETE", "/v1/files/file-x"),
    ("GET", "/v1/files/file-x/content"),
    ("POST", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/fine_tuning/jobs"),
    ("GET", "/v1/fine_tuning/jobs/x"),
    ("POST", "/v1/fine_tuning/jobs/x/cancel"),
    ("GET", "/v1/fine_tuning/jobs/x/events"),
    ("GET", "/v1/fine_tuning/jobs/x/checkpoints"),
    ("GET", "/v1/models"),
    ("GET", "/v1/models/nano"),
    ("DELETE", "/v1/models/nano"),
    ("POST", "/v1/chat/completions"),
    ("GET", "/v1/nothing"),
    ("GET", "/reference/nothing"),
]
ROUND_THE_GATE = [
    "/health/", "//health", "/health/../v1/models", "/ready/../models", "/health%2F..%2Fmodels",
    "/HEALTH", "/v1/health", "/health;x", "/./health", "/ready%00", "/health/v1/models",
    "/reference/../v1/models", "/reference/v1/models", "/openapi.json/", "http://health/v1/models",
    "/v1//models", "/v1/models/", "//v1/models",
]  # fmt: skip
CHAT = {"model": "nano", "messages": [{"role": "user", "content": "hello"}]}


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_key(server: Server, http: httpx.Client, method: str, path: str) -> None:
    """Nothing answers without a key, not even that it is not there."""
    response = http.request(method, server.url + path, headers={"authorization": ""})
    assert response.status_code == 401
    error = response.json()["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", None)
    assert error["message"].startswith("You didn't provide an API key.")
    assert response.headers["x-request-id"]


@pytest.mark.parametrize(
    "headers",
    [
        [("authorization", "Bearer sk-proj-wrong")],
        [("authorization", "Bearer ü")],
        [("authorization", "Basic dXNlcjpwYXNz")],
        [("api-key", "sk-proj-wrong")],
        [("cookie", "session=x"), ("authorization", "Bearer nobody")],
    ],
)
def test_wrong_key(server: Server, headers: list[tuple[str, str]]) -> None:
    """Whatever is no key of ours is told so, in one and the same way."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    response = httpx.get(f"{server.url}/v1/models", headers=raw)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer KEY")],
        [("authorization", "bearer  KEY")],
        [("api-key", "KEY")],
        [("api-key", "KEY"), ("authorization", "Bearer KEY")],
    ],
)
def test_good_key(server: Server, headers: list[tuple[str, str]]) -> None:
    """A key comes in `Authorization`, or in Azure's `api-key`."""
    given = [(name, value.replace("KEY", server.key)) for name, value in headers]
    assert httpx.get(f"{server.url}/v1/models", headers=given).status_code == 200


def test_two_keys(server: Server) -> None:
    """Two different keys are refused: which one would be checked, and by whom?"""
    headers = [("authorization", f"Bearer {server.key}"), ("authorization", "Bearer other")]
    assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 401


@pytest.mark.parametrize("target", ROUND_THE_GATE)
def test_round_the_gate(server: Server, target: str) -> None:
    """No way of writing a path makes a protected one public."""
    parts = urlsplit(server.url)
    request = f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(request.encode())
        answer = connection.makefile("rb").readline()
    assert re.match(rb"HTTP/1.1 40[01] ", answer)


def test_headers(http: httpx.Client) -> None:
    """Every response carries OpenAI's headers."""
    for path, status in [("/v1/models", 200), ("/v1/files/x", 404), ("/v1/nothing", 404)]:
        response = http.get(path)
        assert response.status_code == status
        assert re.fullmatch(r"req_[0-9a-f]{32}", response.headers["x-request-id"])
        assert response.headers["openai-processing-ms"].isdigit()
        assert response.headers["openai-version"] == "2020-10-01"
        assert response.headers["openai-organization"] == "local"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["access-control-allow-origin"] == "*"
        assert response.headers["content-type"] == "application/json"


def test_request_ids_differ(http: httpx.Client) -> None:
    """No two requests share an id."""
    assert len({http.get("/v1/models").headers["x-request-id"] for _ in range(20)}) == 20


def test_chat_headers(http: httpx.Client) -> None:
    """Chat says which model answered."""
    response = http.post("/v1/chat/completions", json=CHAT | {"model": "gpt-4o-mini"})
    assert response.headers["openai-model"] == "nano"
    assert response.headers["content-type"] == "application/json"


def test_stream_headers(http: httpx.Client) -> None:
    """A stream is an event stream that nothing on the way may keep."""
    response = http.post("/v1/chat/completions", json=CHAT | {"stream": True})
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache, must-revalidate"
    assert response.headers["openai-model"] == "nano"
    assert response.text.endswith("data: [DONE]\n\n")


def test_preflight(server: Server) -> None:
    """A browser may ask, without a key, whether a page may send one."""
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type,x-stainless-os",
    }
    response = httpx.options(f"{server.url}/v1/chat/completions", headers=asked)
    assert response.status_code == 200
    assert response.headers["access-control-allow-origin"] == "*"
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert response.content == b""


@pytest.mark.parametrize("path", sorted(path.decode() for path in PUBLIC_PATHS))
def test_public(server: Server, path: str) -> None:
    """Those who watch the process, or read what the API is, need no key."""
    assert httpx.get(server.url + path).status_code in {200, 503}


def test_not_ready(server: Server) -> None:
    """Without a worker no job could run: `/ready` says so, and what to do, while `/health` is fine."""
    assert httpx.get(f"{server.url}/health").status_code == 200
    response = httpx.get(f"{server.url}/ready")
    assert response.status_code == 503
    checks = response.json()["checks"]
    assert checks.pop("worker").startswith("none is alive")
    assert set(checks.values()) == {"ok"}
