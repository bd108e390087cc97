"""Answers held against OpenAI's published description; collected only where `RETUNE_OPENAPI` names that file.

Every answer is looked at by the client itself, in success and in failure; so a test here only asks.
"""

import json
import re
from collections.abc import Callable, Iterator

import httpx
import pytest

from tests.api.described import Described, Difference, errors_of, find_operation, named
from tests.api.tenants import all_routes
from tests.batches import CHAT, jsonl, line, running_batches
from tests.polling import eventually
from tests.receiver import running_receiver
from tests.samples import job_report

HELLO = [{"role": "user", "content": "hello"}]
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
Validate = Callable[[object, str], None]


@pytest.fixture(scope="module")
def server(own_server):
    """What other modules made is not looked at here."""
    return own_server


@pytest.fixture(scope="module")
def described() -> Described:
    """What has been seen in this module."""
    return Described()


@pytest.fixture(scope="module")
def http(server, described: Described) -> Iterator[httpx.Client]:
    """A client that fails where an answer is not as OpenAI describes it."""
    with httpx.Client(
        base_url=server.url,
        headers={"authorization": f"Bearer {server.key}"},
        timeout=30,
        event_hooks={"response": [described.look_at]},
    ) as client:
        yield client


@pytest.fixture(scope="module")
def validate() -> Validate:
    """Check a value against one of the document's named schemas."""

    def check(value: object, name: str) -> None:
        errors = errors_of(value, named(name))
        assert not errors, [f"{error.json_path}: {error.message[:200]}" for error in errors]

    return check


def test_the_checker_can_fail(validate: Validate, described: Described) -> None:
    """A file without an id is found out, named or as an answer."""
    with pytest.raises(AssertionError, match="'id' is a required property"):
        validate({"object": "file"}, "OpenAIFile")
    request = httpx.Request("GET", "http://localhost/v1/files/file-1")
    with pytest.raises(AssertionError, match="'id' is a required property"):
        described.look_at(httpx.Response(200, json={"object": "file"}, request=request))


def new_file(http: httpx.Client, content: bytes = LINE * 12, purpose: str = "fine-tune") -> str:
    sent = {"file": ("a.jsonl", content)}
    return http.post("/v1/files", files=sent, data={"purpose": purpose}).json()["id"]


def test_files(http: httpx.Client) -> None:
    """A file, its content, the list of files, and a deletion."""
    path = f"/v1/files/{new_file(http)}"
    http.get(path)
    http.get(f"{path}/content")
    # The purpose `evals` as well: OpenAI takes it for uploads and forgets it in this object.
    new_file(http, purpose="evals")
    http.get("/v1/files")
    assert http.delete(path).status_code == 200


def test_uploads(http: httpx.Client) -> None:
    """An upload, its part, its completion, and another's cancellation."""
    asked = {"bytes": 3, "filename": "a", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload, other = (http.post("/v1/uploads", json=asked).json() for _ in range(2))
    part = http.post(f"/v1/uploads/{upload['id']}/parts", files={"data": b"abc"}).json()
    http.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": [part["id"]]})
    http.post(f"/v1/uploads/{other['id']}/cancel")


def test_jobs(server, http: httpx.Client) -> None:
    """A job, fresh, pausing, resumed and cancelled, one paused, one with a report, the list, its events and checkpoints."""
    server.add_job(status="paused")
    server.add_job(status="succeeded", report=job_report())
    asked = {"model": "gpt-4o-mini", "training_file": new_file(http), "metadata": {"a": "b"}}
    job = http.post("/v1/fine_tuning/jobs", json=asked).json()
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    http.get(path)
    http.get("/v1/fine_tuning/jobs")
    http.get(f"{path}/events")
    http.get(f"{path}/checkpoints")
    http.post(f"{path}/pause")
    http.post(f"{path}/resume")
    http.post(f"{path}/cancel")


def test_models(server, http: httpx.Client) -> None:
    """The list, each model by itself, and a tuned one's deletion."""
    tuned = server.add_tuned_model()
    for model in http.get("/v1/models").json()["data"]:
        http.get(f"/v1/models/{model['id']}")
    http.delete(f"/v1/models/{tuned}")


def test_chat(http: httpx.Client) -> None:
    """A whole answer, and every chunk of a streamed one."""
    asked = {"model": "gpt-4o-mini", "messages": HELLO}
    http.post("/v1/chat/completions", json=asked)
    stream = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = http.post("/v1/chat/completions", json=asked | stream).text
    events = streamed.strip().split("\n\n")
    assert len(events) > 3
    assert events[-1] == "data: [DONE]"


def test_stored_chats(http: httpx.Client) -> None:
    """A kept answer, changed, listed and deleted, and what it was asked."""
    asked = {"model": "nano", "messages": HELLO, "store": True, "metadata": {"a": "b"}}
    path = f"/v1/chat/completions/{http.post('/v1/chat/completions', json=asked).json()['id']}"
    http.get(path)
    http.post(path, json={"metadata": {"c": "d"}})
    http.get("/v1/chat/completions")
    http.get(f"{path}/messages")
    http.delete(path)


def test_functions(http: httpx.Client) -> None:
    """A call in the deprecated shape, whole and in pieces."""
    call = [{"role": "user", "content": "call"}]
    asked = {"model": "nano", "messages": call, "functions": [{"name": "f"}]}
    http.post("/v1/chat/completions", json=asked)
    http.post("/v1/chat/completions", json=asked | {"stream": True})


def test_texts(http: httpx.Client) -> None:
    """Completions of two prompts, with log-probabilities, the best of several, and in pieces."""
    for more in ({"logprobs": 2, "n": 2}, {"best_of": 3}, {"echo": True}, {"stream": True}):
        http.post("/v1/completions", json={"model": "nano", "prompt": ["a", "b"]} | more)


def test_embeddings(http: httpx.Client) -> None:
    """Vectors as numbers, and as the base64 that the document forgets."""
    asked = {"model": "vectors", "input": ["a", "b"]}
    http.post("/v1/embeddings", json=asked)
    http.post("/v1/embeddings", json=asked | {"encoding_format": "base64"})


def test_webhooks(http: httpx.Client, validate: Validate) -> None:
    """What is delivered, for each type of event; the document knows no routes that manage endpoints."""
    types = http.get("/v1/webhook_event_types").json()["data"]
    with running_receiver() as receiver:
        asked = {"name": "x", "url": receiver.url, "event_types": types}
        path = (
            f"/v1/webhook_endpoints/{http.post('/v1/webhook_endpoints', json=asked).json()['id']}"
        )
        for event_type in types:
            assert http.post(f"{path}/test", json={"event_type": event_type}).status_code == 200
            words = event_type.replace("_", ".").split(".")
            name = "".join(word.capitalize() for word in ("webhook", *words))
            validate(json.loads(receiver.received[-1].body), name)
        http.delete(path)


def test_responses(http: httpx.Client) -> None:
    """Whole answers, every event of a stream, live and replayed, input items and a count of tokens."""
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    for words in ("hello", "call", "cut", "break"):
        asked = {"model": "nano", "input": words, "tools": [tool], "top_logprobs": 1}
        streamed = http.post("/v1/responses", json=asked | {"stream": True}).text
        *_, last = (json.loads(line[6:]) for line in streamed.splitlines() if line[:4] == "data")
        path = f"/v1/responses/{last['response']['id']}"
        http.get(path, params={"stream": "true"})
        http.post("/v1/responses", json=asked)
        http.get(path)
        http.get(f"{path}/input_items")
        http.delete(path)
    http.post("/v1/responses/input_tokens", json={"model": "nano", "input": "hello"})
    http.post("/v1/responses/compact", json={"model": "nano", "input": "hello"})


def test_input_items(http: httpx.Client) -> None:
    """Each kind of item that a response can be asked with."""
    items = [
        {"role": "user", "content": "weather?"},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "rain"},
        {"role": "assistant", "content": "It rains."},
        {"type": "reasoning", "id": "rs_1", "summary": []},
    ]
    made = http.post("/v1/responses", json={"model": "nano", "input": items}).json()
    listed = http.get(f"/v1/responses/{made['id']}/input_items").json()
    assert len(listed["data"]) == len(items)


def test_batches(server, http: httpx.Client) -> None:
    """A batch, fresh, completed, failed and cancelled, and the list."""
    good, bad = line("a"), line("b", url="/v1/embeddings")
    with running_batches(server.settings, server.engine):
        for lines, status in (([good], "completed"), ([bad], "failed")):
            path = f"/v1/batches/{new_batch(http, lines)['id']}"
            eventually(lambda path=path, status=status: http.get(path).json()["status"] == status)
    http.post(f"/v1/batches/{new_batch(http, [good])['id']}/cancel")
    http.get("/v1/batches")


def new_batch(http: httpx.Client, lines: list[dict]) -> dict:
    file_id = new_file(http, jsonl(lines), "batch")
    asked = {"input_file_id": file_id, "endpoint": CHAT, "completion_window": "24h"}
    return http.post("/v1/batches", json=asked).json()


def test_graders(http: httpx.Client) -> None:
    """A grader that was tried, and each kind of grader as it is shown."""
    check = {"type": "string_check", "name": "c", "input": "a", "reference": "a", "operation": "eq"}
    alike = {"type": "text_similarity", "name": "t", "input": "a", "reference": "a"}
    judge = {"type": "score_model", "name": "j", "model": "nano", "input": HELLO}
    graders = [
        check,
        alike | {"evaluation_metric": "bleu"},
        judge,
        {"type": "multi", "name": "m", "graders": check, "calculate_output": "c"},
    ]
    for grader in graders:
        http.post("/v1/fine_tuning/alpha/graders/validate", json={"grader": grader})
        asked = {"grader": grader, "model_sample": "a"}
        http.post("/v1/fine_tuning/alpha/graders/run", json=asked)


def test_checkpoint_permissions(server, http: httpx.Client, validate: Validate) -> None:
    """Permissions as they are made, listed and taken back."""
    path = f"/v1/fine_tuning/checkpoints/{server.add_tuned_model()}/permissions"
    made = http.post(path, json={"project_ids": ["proj_default"]}).json()
    validate(made["data"][0], "FineTuningCheckpointPermission")
    http.get(path)
    http.delete(f"{path}/{made['data'][0]['id']}")


@pytest.mark.parametrize(
    "path", ["/v1/batches", "/v1/chat/completions", "/v1/files", "/v1/fine_tuning/jobs"]
)
def test_empty_pages(http: httpx.Client, path: str) -> None:
    """What comes after the last is described as well."""
    page = http.get(path).json()
    while page["data"]:
        page = http.get(path, params={"after": page["data"][-1]["id"]}).json()
    assert not page["has_more"]


def test_errors(http: httpx.Client) -> None:
    """What is refused comes in OpenAI's envelope, whatever it is."""
    for route in all_routes():
        url = route.url(dict.fromkeys(route.parameters, "x"))
        answer = http.request(route.method, url, json={"no": "such field"})
        assert answer.is_error or not route.parameters


def was_run_whole(request: pytest.FixtureRequest) -> bool:
    """Whether all tests of this module were asked for; what is said of all would else be wrong."""
    asked = [item for item in request.session.items if item.path == request.path]
    return len(asked) == len(re.findall(r"^def test_", request.path.read_text(), re.MULTILINE))


def test_every_operation_was_answered(described: Described, request: pytest.FixtureRequest) -> None:
    """Every route that OpenAI describes as well has answered with success above."""
    served = {
        operation.id
        for route in all_routes()
        if (operation := find_operation(route.method, route.path))
    }
    assert len(served) > 40
    if was_run_whole(request):
        described.check(
            Difference(operation, "", "success", "it was not answered")
            for operation in served - described.seen
        )


def test_every_deviation_occurs(described: Described, request: pytest.FixtureRequest) -> None:
    """What is listed as different is different."""
    assert not was_run_whole(request) or not described.unseen(), described.unseen()
