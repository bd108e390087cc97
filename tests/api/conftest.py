"""The application as it is served, and who asks it."""

import os
from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI

# OpenAI's description is not part of this repository.
collect_ignore = [] if os.environ.get("RETUNE_OPENAPI") else ["test_openapi.py"]


@pytest.fixture(scope="session")
def server(redis_server_url: str) -> Iterator:
    """One server for all these tests."""
    # Not before `pytest_configure` has chosen the SQLite.
    from tests.api_server import running_server  # noqa: PLC0415

    with running_server(redis_server_url) as server:
        yield server


@pytest.fixture(scope="module")
def own_server(redis_server_url: str) -> Iterator:
    """A server for one module, where nobody else's objects are."""
    from tests.api_server import running_server  # noqa: PLC0415

    with running_server(redis_server_url) as server:
        yield server


@pytest.fixture(scope="session")
def client(server) -> Iterator[OpenAI]:
    """OpenAI's own SDK, unmodified."""
    with OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0) as client:
        yield client


@pytest.fixture(scope="session")
def strict(server) -> Iterator[OpenAI]:
    """The same SDK, which raises where an answer is not of the type that it documents."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture(scope="session")
def http(server) -> Iterator[httpx.Client]:
    """A plain client with the key, for what the SDK would not send."""
    headers = {"authorization": f"Bearer {server.key}"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=30) as client:
        yield client
