"""Every call of our own description, asked with good and bad data by schemathesis: no 5xx, no surprise."""

from collections.abc import Iterator
from copy import deepcopy
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.openapi.operations import OPERATIONS
from tests.api.routes import described
from tests.api.tenants import Tenant, belongings
from tests.api_server import PROJECT, Server, running_server

SCHEMA = schemathesis.openapi.from_dict(deepcopy(described()))
EXAMPLES = 5
MANY_EXAMPLES = 100
MANY_SLOW_EXAMPLES = 20
"""Of graders, each of which is a process."""
ENDS = ("/archive", "/cancel")
"""What is ended for good is not one of ours that others ask about."""


@pytest.fixture(scope="module")
def server(redis_server_url: str) -> Iterator[Server]:
    """One of our own: what is asked here leaves much behind."""
    with running_server(redis_server_url) as server:
        yield server


@pytest.fixture(scope="module")
def ids(server: Server) -> dict[str, str]:
    """One of each thing, by the names of paths' parameters and bodies' fields."""
    with (
        httpx.Client(
            base_url=server.url, headers={"authorization": f"Bearer {server.key}"}
        ) as http,
        httpx.Client(
            base_url=f"{server.url}/v1/organization/projects",
            headers={"authorization": f"Bearer {server.admin_key}"},
        ) as admin,
    ):
        guest = admin.post("", json={"name": "guest"}).json()["id"]
        made = belongings(server, Tenant(PROJECT, http), guest)
        key = admin.post(f"/{guest}/api_keys", json={"name": "a"}).json()["id"]
        account = admin.post(f"/{guest}/service_accounts", json={"name": "a"}).json()["id"]
    return made | {
        "project_id": guest,
        "key_id": key,
        "account_id": account,
        "rate_limit_id": "rl-nano",
    }


def errors_come_in_the_envelope(_: object, response: Response, __: Case) -> None:
    """All four keys, in each error, and nothing else."""
    if response.status_code >= 400:
        error = response.json()["error"]
        assert error.keys() == {"message", "type", "param", "code"}
        assert isinstance(error["message"], str)
        assert error["message"]


def bad_bodies_are_refused(_: object, response: Response, case: Case) -> None:
    """JSON that is not what the description says; unknown names in a query are let be, as at OpenAI."""
    body = case.meta.components.get(ParameterLocation.BODY)
    if case.media_type == "application/json" and body is not None and body.mode.is_negative:
        assert 400 <= response.status_code < 500


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    errors_come_in_the_envelope,
    bad_bodies_are_refused,
]


def ask(
    server: Server,
    ids: dict[str, str],
    key: str,
    mode: GenerationMode,
    *,
    examples: int,
    streams: bool = False,
) -> None:
    """Ask one call `examples` times."""
    method, path = key.split()
    model = "vectors" if path.endswith("/embeddings") else "nano"
    is_kept = method != "DELETE" and not path.endswith(ENDS)
    known = {name: quote(ids[name], safe=":") for name in ids if f"{{{name}}}" in path}
    fixed = {"path_parameters": known} if is_kept and known else {}
    headers = {
        "authorization": f"Bearer {server.admin_key if 'organization' in path else server.key}"
    }

    @seed(20250101)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(SCHEMA[path][method].as_strategy(generation_mode=mode, **fixed))
    def ask_once(case: Case) -> None:
        if mode is GenerationMode.POSITIVE:
            case.body = at_home(case.body, ids | {"model": model}, streams=streams)
        case.call_and_validate(base_url=server.url, headers=headers, checks=CHECKS, timeout=60)

    ask_once()


def at_home(body: object, ids: dict[str, str], *, streams: bool) -> object:
    """Let a body name what is there; made-up names would all be refused alike."""
    if not isinstance(body, dict):
        return body
    if streams:
        body = body | {"stream": True}
    ours = {
        "model": ids["model"],
        "training_file": ids["file_id"],
        "validation_file": None,
        "project_ids": [ids["project_id"]],
        "endpoint": "/v1/chat/completions",
        "dry_run": False,  # takes a process each
    }
    return body | {name: value for name, value in ours.items() if name in body}


MODES = pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)


@MODES
@pytest.mark.parametrize("key", OPERATIONS)
def test_each_call(server: Server, ids: dict[str, str], key: str, mode: GenerationMode) -> None:
    """Answers as the description says, whatever it is asked."""
    ask(server, ids, key, mode, examples=EXAMPLES)


@pytest.mark.parametrize(
    "key", ["POST /v1/chat/completions", "POST /v1/completions", "POST /v1/responses"]
)
def test_each_stream(server: Server, ids: dict[str, str], key: str) -> None:
    """Every event is as the description says; of questions made up, about one in three is answered."""
    ask(server, ids, key, GenerationMode.POSITIVE, examples=4 * EXAMPLES, streams=True)


@pytest.mark.slow
@MODES
@pytest.mark.parametrize("key", OPERATIONS)
def test_each_call_at_length(
    server: Server, ids: dict[str, str], key: str, mode: GenerationMode
) -> None:
    """The same, many times."""
    examples = MANY_SLOW_EXAMPLES if key.endswith("graders/run") else MANY_EXAMPLES
    ask(server, ids, key, mode, examples=examples)
