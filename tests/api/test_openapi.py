"""Answers held against OpenAI's published description; collected only where `RETUNE_OPENAPI` names that file."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import httpx
import jsonschema
import pytest
import yaml

from tests.batches import CHAT, jsonl, line, running_batches
from tests.polling import eventually
from tests.receiver import running_receiver

HELLO = [{"role": "user", "content": "hello"}]
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
Validate = Callable[[object, str], None]


@cache
def description() -> dict:
    """OpenAI's document, 840 kB: read once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(os.environ["RETUNE_OPENAPI"]).read_bytes(), Loader=loader)  # noqa: S506 - a safe one


@pytest.fixture(scope="module")
def validate() -> Validate:
    """Check a value against one of the document's named schemas."""

    def check(value: object, name: str) -> None:
        schema = {"$ref": f"#/components/schemas/{name}", "components": description()["components"]}
        errors = list(jsonschema.Draft202012Validator(schema).iter_errors(value))
        assert not errors, [f"{error.json_path}: {error.message[:200]}" for error in errors]

    return check


@pytest.fixture(scope="module")
def file(http: httpx.Client) -> dict:
    """An uploaded file."""
    sent = {"file": ("a.jsonl", LINE * 12)}
    return http.post("/v1/files", files=sent, data={"purpose": "fine-tune"}).json()


def test_the_checker_can_fail(validate: Validate) -> None:
    """A file without an id is found out."""
    with pytest.raises(AssertionError, match="'id' is a required property"):
        validate({"object": "file"}, "OpenAIFile")


def test_files(http: httpx.Client, validate: Validate, file: dict) -> None:
    """A file, the list of files, and a deletion."""
    validate(file, "OpenAIFile")
    # Not the purpose `evals`: OpenAI takes it for uploads and forgets it in this object.
    listed = http.get("/v1/files", params={"purpose": "fine-tune"})
    validate(listed.json(), "ListFilesResponse")
    validate(http.delete(f"/v1/files/{file['id']}").json(), "DeleteFileResponse")


def test_uploads(http: httpx.Client, validate: Validate) -> None:
    """An upload, its part, its completion, and another's cancellation."""
    asked = {"bytes": 3, "filename": "a", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload, other = (http.post("/v1/uploads", json=asked).json() for _ in range(2))
    part = http.post(f"/v1/uploads/{upload['id']}/parts", files={"data": b"abc"}).json()
    done = http.post(f"/v1/uploads/{upload['id']}/complete", json={"part_ids": [part["id"]]})
    validate(upload, "Upload")
    validate(part, "UploadPart")
    validate(done.json(), "Upload")
    validate(http.post(f"/v1/uploads/{other['id']}/cancel").json(), "Upload")


def test_jobs(http: httpx.Client, validate: Validate) -> None:
    """A job, fresh, pausing, resumed and cancelled, the list, its events and checkpoints."""
    sent = {"file": ("a.jsonl", LINE * 12)}
    file = http.post("/v1/files", files=sent, data={"purpose": "fine-tune"}).json()
    asked = {"model": "gpt-4o-mini", "training_file": file["id"], "metadata": {"a": "b"}}
    job = http.post("/v1/fine_tuning/jobs", json=asked).json()
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    validate(job, "FineTuningJob")
    validate(http.get(path).json(), "FineTuningJob")
    validate(http.get("/v1/fine_tuning/jobs").json(), "ListPaginatedFineTuningJobsResponse")
    validate(http.get(f"{path}/events").json(), "ListFineTuningJobEventsResponse")
    validate(http.get(f"{path}/checkpoints").json(), "ListFineTuningJobCheckpointsResponse")
    # Asked to pause, and not yet paused: a status that OpenAI's document forgets in its list.
    validate(http.post(f"{path}/pause").json(), "FineTuningJob")
    validate(http.post(f"{path}/resume").json(), "FineTuningJob")
    validate(http.post(f"{path}/cancel").json(), "FineTuningJob")


def test_models(http: httpx.Client, validate: Validate) -> None:
    """The list, and each model by itself."""
    listed = http.get("/v1/models").json()
    validate(listed, "ListModelsResponse")
    for model in listed["data"]:
        validate(http.get(f"/v1/models/{model['id']}").json(), "Model")


def test_chat(http: httpx.Client, validate: Validate) -> None:
    """A whole answer, and every chunk of a streamed one."""
    asked = {"model": "gpt-4o-mini", "messages": HELLO}
    validate(http.post("/v1/chat/completions", json=asked).json(), "CreateChatCompletionResponse")
    streamed = http.post(
        "/v1/chat/completions",
        json=asked | {"stream": True, "stream_options": {"include_usage": True}},
    ).text
    events = [event.removeprefix("data: ") for event in streamed.strip().split("\n\n")]
    assert events.pop() == "[DONE]"
    assert len(events) > 2
    for event in events:
        validate(httpx.Response(200, text=event).json(), "CreateChatCompletionStreamResponse")


def test_stored_chats(http: httpx.Client, validate: Validate) -> None:
    """A kept answer, changed, listed and deleted."""
    asked = {"model": "nano", "messages": HELLO, "store": True, "metadata": {"a": "b"}}
    path = f"/v1/chat/completions/{http.post('/v1/chat/completions', json=asked).json()['id']}"
    validate(http.get(path).json(), "CreateChatCompletionResponse")
    changed = http.post(path, json={"metadata": {"c": "d"}}).json()
    validate(changed, "CreateChatCompletionResponse")
    validate(http.get("/v1/chat/completions").json(), "ChatCompletionList")
    # Not the messages: the document's own example has roles that its schema does not.
    validate(http.delete(path).json(), "ChatCompletionDeleted")


def test_functions(http: httpx.Client, validate: Validate) -> None:
    """A call in the deprecated shape, whole and in pieces."""
    call = [{"role": "user", "content": "call"}]
    asked = {"model": "nano", "messages": call, "functions": [{"name": "f"}]}
    validate(http.post("/v1/chat/completions", json=asked).json(), "CreateChatCompletionResponse")
    streamed = http.post("/v1/chat/completions", json=asked | {"stream": True}).text
    for event in streamed.strip().split("\n\n")[:-1]:
        validate(json.loads(event[6:]), "CreateChatCompletionStreamResponse")


def test_texts(http: httpx.Client, validate: Validate) -> None:
    """Completions of two prompts, with log-probabilities, and the best of several."""
    for more in ({"logprobs": 2, "n": 2}, {"best_of": 3}, {"echo": True}):
        asked = {"model": "nano", "prompt": ["a", "b"]} | more
        validate(http.post("/v1/completions", json=asked).json(), "CreateCompletionResponse")


def test_embeddings(http: httpx.Client, validate: Validate) -> None:
    """Vectors as numbers; the document forgets base64."""
    asked = {"model": "vectors", "input": ["a", "b"]}
    validate(http.post("/v1/embeddings", json=asked).json(), "CreateEmbeddingResponse")


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
            validate(httpx.Response(200, content=receiver.received[-1].body).json(), name)
        http.delete(path)


def test_responses(http: httpx.Client, validate: Validate) -> None:
    """Whole answers, every event of a stream, live and replayed, input items and a count of tokens."""
    tool = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}
    for words in ("hello", "call", "cut", "break"):
        asked = {"model": "nano", "input": words, "tools": [tool], "top_logprobs": 1}
        streamed = http.post("/v1/responses", json=asked | {"stream": True}).text
        events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data")]
        assert len(events) > 2
        response = events[-1]["response"]
        path = f"/v1/responses/{response['id']}"
        replayed = http.get(path, params={"stream": "true"}).text
        events += [json.loads(line[6:]) for line in replayed.splitlines() if line[:4] == "data"]
        for event in events:
            validate(event, "ResponseStreamEvent")
        validate(http.post("/v1/responses", json=asked).json(), "Response")
        validate(http.get(path).json(), "Response")
        validate(http.get(f"{path}/input_items").json(), "ResponseItemList")
    counted = http.post("/v1/responses/input_tokens", json={"model": "nano", "input": "hello"})
    validate(counted.json(), "TokenCountsResource")
    short = http.post("/v1/responses/compact", json={"model": "nano", "input": "hello"})
    validate(short.json(), "CompactResource")


def test_input_items(http: httpx.Client, validate: Validate) -> None:
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
    validate(listed, "ResponseItemList")


def test_batches(server, http: httpx.Client, validate: Validate) -> None:
    """A batch, fresh, completed, failed and cancelled, and the list."""
    good, bad = line("a"), line("b", url="/v1/embeddings")
    with running_batches(server.settings, server.engine):
        for lines, status in (([good], "completed"), ([bad], "failed")):
            batch = new_batch(http, lines)
            validate(without_nulls(batch), "Batch")
            path = f"/v1/batches/{batch['id']}"
            eventually(lambda path=path, status=status: http.get(path).json()["status"] == status)
            validate(without_nulls(http.get(path).json()), "Batch")
    path = f"/v1/batches/{new_batch(http, [good])['id']}"
    validate(without_nulls(http.post(f"{path}/cancel").json()), "Batch")
    listed = http.get("/v1/batches").json()
    batches = [without_nulls(batch) for batch in listed["data"]]
    validate(listed | {"data": batches}, "ListBatchesResponse")


def new_batch(http: httpx.Client, lines: list[dict]) -> dict:
    sent = {"file": ("in.jsonl", jsonl(lines))}
    file = http.post("/v1/files", files=sent, data={"purpose": "batch"}).json()
    asked = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "24h"}
    return http.post("/v1/batches", json=asked).json()


def without_nulls(batch: dict) -> dict:
    """OpenAI's servers send null where its document knows only absence (recordings of 2024 and 2025)."""
    return {name: value for name, value in batch.items() if value is not None}


def test_graders(http: httpx.Client, validate: Validate) -> None:
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
        shown = http.post("/v1/fine_tuning/alpha/graders/validate", json={"grader": grader})
        validate(shown.json(), "ValidateGraderResponse")
        asked = {"grader": grader, "model_sample": "a"}
        run = http.post("/v1/fine_tuning/alpha/graders/run", json=asked)
        validate(run.json(), "RunGraderResponse")


def test_checkpoint_permissions(server, http: httpx.Client, validate: Validate) -> None:
    """Permissions as they are made, listed and taken back."""
    path = f"/v1/fine_tuning/checkpoints/{server.add_tuned_model()}/permissions"
    made = http.post(path, json={"project_ids": ["proj_default"]}).json()
    validate(made, "ListFineTuningCheckpointPermissionResponse")
    validate(made["data"][0], "FineTuningCheckpointPermission")
    validate(http.get(path).json(), "ListFineTuningCheckpointPermissionResponse")
    deleted = http.delete(f"{path}/{made['data'][0]['id']}").json()
    validate(deleted, "DeleteFineTuningCheckpointPermissionResponse")


def test_errors(http: httpx.Client, validate: Validate) -> None:
    """What is refused comes in OpenAI's envelope."""
    for answer in (http.get("/v1/files/none"), http.post("/v1/fine_tuning/jobs", json={})):
        assert answer.status_code in {400, 404}
        validate(answer.json(), "ErrorResponse")
