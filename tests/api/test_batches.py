"""`/v1/batches` as OpenAI's SDK sees it; the worker is real, the engine is ours."""

import json
import time

import httpx
import openai
import pytest
from openai import OpenAI

from tests.batches import CHAT, jsonl, line, running_batches


@pytest.fixture(scope="module")
def worker(server):
    """The part of a worker that runs batches."""
    with running_batches(server.settings, server.engine):
        yield


@pytest.fixture(scope="module")
def strict(server):
    """The SDK that refuses what its types do not allow."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def upload(client, lines, purpose="batch"):
    return client.files.create(file=("in.jsonl", jsonl(lines)), purpose=purpose)


def create(client, lines, **more):
    asked = {"endpoint": CHAT, "completion_window": "24h"} | more
    return client.batches.create(input_file_id=upload(client, lines).id, **asked)


def ended(client, batch_id, seconds=30):
    deadline = time.monotonic() + seconds
    while (batch := client.batches.retrieve(batch_id)).status not in {
        "completed", "failed", "expired", "cancelled",
    }:  # fmt: skip
        assert time.monotonic() < deadline, batch
        time.sleep(0.05)
    return batch


def test_a_batch_from_its_file_to_its_answers(strict, worker):
    """Upload, create, poll, download: each answer is a chat completion of the SDK's own type."""
    batch = create(
        strict, [line(f"request-{n}") for n in range(3)] + [line("x", "refuse")],
        metadata={"job": "nightly"},
    )  # fmt: skip
    assert batch.id.startswith("batch_")
    assert (batch.object, batch.status, batch.metadata) == (
        "batch",
        "validating",
        {"job": "nightly"},
    )
    assert batch.expires_at == batch.created_at + 86400
    batch = ended(strict, batch.id)
    assert batch.status == "completed"
    assert batch.request_counts.model_dump() == {"total": 4, "completed": 3, "failed": 1}
    assert (batch.model, batch.usage.total_tokens) == ("nano", 33)
    lines = strict.files.content(batch.output_file_id).text.splitlines()
    results = {result["custom_id"]: result for result in map(json.loads, lines)}
    assert set(results) == {"request-0", "request-1", "request-2"}
    result = results["request-1"]
    assert result["id"].startswith("batch_req_")
    assert result["response"]["request_id"].startswith("req_")
    answer = openai.types.chat.ChatCompletion.model_validate(result["response"]["body"])
    assert answer.choices[0].message.content == "Hello, wörld 🙂"
    [refused] = map(json.loads, strict.files.content(batch.error_file_id).text.splitlines())
    assert (refused["custom_id"], refused["error"]) == ("x", None)
    assert refused["response"]["status_code"] == 400
    assert set(refused["response"]["body"]["error"]) == {"message", "type", "param", "code"}
    assert strict.files.retrieve(batch.output_file_id).purpose == "batch_output"


def test_a_tuned_model_is_asked_by_its_name(client, worker, server):
    """The adapter answers, and the batch and its lines show the tuned name."""
    name = server.add_tuned_model()
    body = line("a")["body"] | {"model": name}
    batch = ended(client, create(client, [line("a", body=body)]).id)
    assert batch.model == name
    content = client.files.content(batch.output_file_id).text
    assert json.loads(content)["response"]["body"]["model"] == name


ENDPOINTS = {
    "/v1/chat/completions": (line("a")["body"], openai.types.chat.ChatCompletion),
    "/v1/completions": ({"model": "nano", "prompt": "hello"}, openai.types.Completion),
    "/v1/responses": ({"model": "nano", "input": "hello"}, openai.types.responses.Response),
    "/v1/embeddings": (
        {"model": "vectors", "input": "hello", "encoding_format": "float"},
        openai.types.CreateEmbeddingResponse,
    ),
}


@pytest.mark.parametrize(("url", "asked"), ENDPOINTS.items())
def test_every_endpoint(client, worker, url, asked):
    """What a line is answered is what the endpoint itself answers; tokens are counted by the names it uses."""
    body, answer_type = asked
    lines = [line(f"{n}", url=url, body=body) for n in range(2)]
    batch = ended(client, create(client, lines, endpoint=url).id)
    assert (batch.status, batch.request_counts.completed) == ("completed", 2)
    content = client.files.content(batch.output_file_id).text.splitlines()[0]
    answer = answer_type.model_validate(json.loads(content)["response"]["body"])
    assert batch.usage.total_tokens == 2 * answer.usage.total_tokens > 0
    assert batch.usage.input_tokens + batch.usage.output_tokens == batch.usage.total_tokens


def test_a_model_of_another_kind_fails_the_batch(client, worker):
    """A text model makes no embeddings; the batch fails in the words of the live endpoint."""
    body = {"model": "nano", "input": "hello"}
    asked = [line("a", url="/v1/embeddings", body=body)]
    batch = ended(client, create(client, asked, endpoint="/v1/embeddings").id)
    assert batch.status == "failed"
    assert "not allowed to generate embeddings" in batch.errors.data[0].message


def test_a_bad_file_fails_after_creation(strict, worker):
    """`create` succeeds, as at OpenAI; the batch then fails with the findings in the SDK's type."""
    batch = ended(strict, create(strict, [line("a"), line("a"), line("b", url="/v1/x")]).id)
    assert (batch.status, batch.output_file_id) == ("failed", None)
    assert batch.errors.object == "list"
    assert [(error.code, error.line, error.param) for error in batch.errors.data] == [
        ("duplicate_custom_id", 2, "custom_id"),
        ("invalid_url", 3, "url"),
    ]


def test_cancel(strict, worker):
    """`cancelling` at once, `cancelled` soon, and then 409: once, because the SDK is told not to repeat it."""
    batch = create(strict, [line("a"), line("b", "hold")])
    assert strict.batches.cancel(batch.id).status == "cancelling"
    assert ended(strict, batch.id, seconds=10).status == "cancelled"
    with pytest.raises(openai.ConflictError) as caught:
        strict.batches.cancel(batch.id)
    assert caught.value.body["message"] == "Cannot cancel a batch with status 'cancelled'."
    assert caught.value.body["type"] == "invalid_request_error"
    assert caught.value.response.headers["x-should-retry"] == "false"


def test_list(strict):
    """Newest first, by pages, with the ids of the page's ends."""
    made = [create(strict, [line("a")]).id for _ in range(3)]
    page = strict.batches.list(limit=2)
    assert [batch.id for batch in page.data] == made[:0:-1]
    assert page.has_more
    body = page.model_dump()
    assert (body["first_id"], body["last_id"]) == (made[2], made[1])
    walked = [batch.id for batch, _ in zip(strict.batches.list(limit=2), range(3), strict=False)]
    assert walked == made[::-1]


def test_a_batch_that_is_not_there(client):
    """404, in OpenAI's words, to look at and to cancel."""
    for ask in (client.batches.retrieve, client.batches.cancel):
        with pytest.raises(openai.NotFoundError) as caught:
            ask("batch_none")
        assert caught.value.body["message"] == "No batch found with id 'batch_none'."


GOOD = {"input_file_id": "file-none", "endpoint": CHAT, "completion_window": "24h"}
REFUSED = {
    "no file": ({"input_file_id": None}, "invalid_type", "input_file_id"),
    "a file that is not there": ({}, None, "input_file_id"),
    "another window": ({"completion_window": "1h"}, "invalid_value", "completion_window"),
    "an unknown endpoint": ({"endpoint": "/v1/files"}, "invalid_value", "endpoint"),
    "an endpoint that is not served": (
        {"endpoint": "/v1/images/generations"}, "unsupported_value", "endpoint"
    ),
    "an unknown field": ({"priority": 1}, "unknown_parameter", "priority"),
    "too short a life": (
        {"output_expires_after": {"anchor": "created_at", "seconds": 60}},
        "integer_below_min_value",
        "output_expires_after.seconds",
    ),
    "too much metadata": (
        {"metadata": {f"{n}": "x" for n in range(17)}}, "object_above_max_properties", "metadata"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "code", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_refused_at_creation(http, change, code, param):
    """400 in OpenAI's envelope, with the field at fault."""
    answer = http.post("/v1/batches", json=GOOD | change)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


def test_what_is_missing_is_named(http):
    """An empty body lacks the first of its fields."""
    error = http.post("/v1/batches", json={}).json()["error"]
    assert (error["code"], error["param"]) == ("missing_required_parameter", "input_file_id")


def test_a_file_for_another_purpose_is_refused(client):
    """With advice."""
    file = upload(client, [line("a")], purpose="user_data")
    with pytest.raises(openai.BadRequestError, match="Upload it with purpose 'batch'") as caught:
        client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    assert caught.value.param == "input_file_id"


@pytest.mark.parametrize("query", ["limit=-1", "limit=101", "limit=x", "after=batch_none"])
def test_a_list_has_bounds(http: httpx.Client, query):
    """A bad page is 400, with the parameter."""
    answer = http.get(f"/v1/batches?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]
