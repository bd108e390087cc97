"""The dashboard as a browser gets it, with nothing of a browser but its cookies."""

from collections.abc import Iterator

import httpx
import pytest


@pytest.fixture(scope="session")
def server(redis_server_url: str) -> Iterator:
    """One server for all these tests."""
    # Not before `pytest_configure` has chosen the SQLite.
    from tests.api_server import running_server  # noqa: PLC0415

    with running_server(redis_server_url) as server:
        yield server


@pytest.fixture
def visitor(server) -> Iterator[httpx.Client]:
    """A browser that nobody signed in with."""
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client


@pytest.fixture
def reader(server, visitor: httpx.Client) -> httpx.Client:
    """A browser that is signed in."""
    answer = visitor.post("/ui/sign-in", data={"key": server.key})
    assert answer.status_code == 303
    return visitor


@pytest.fixture
def administrator(server) -> Iterator[httpx.Client]:
    """A browser that is signed in with an admin key."""
    headers = {"sec-fetch-site": "same-origin", "accept": "text/html"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        assert client.post("/ui/sign-in", data={"key": server.admin_key}).status_code == 303
        yield client
