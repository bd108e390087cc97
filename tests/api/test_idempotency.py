"""Asking again: by the rules of Stripe's idempotency keys, and as OpenAI's SDK does by itself."""

import asyncio
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from openai import OpenAI

from jobs.keys import create_key
from jobs.store.store import open_store
from tests.api_server import Server
from tests.e2e.server import free_port
from tests.polling import eventually

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
JOBS = "/v1/fine_tuning/jobs"
UPLOAD = {"bytes": 3, "filename": "a", "purpose": "fine-tune", "mime_type": "x/y"}
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def file_id(client: OpenAI) -> str:
    return client.files.create(file=LINE * 12, purpose="fine-tune").id


@pytest.fixture
def job(file_id: str) -> dict:
    """A body that no other test sends."""
    return {"model": "nano", "training_file": file_id, "metadata": {"test": uuid4().hex}}


def post(http: httpx.Client, path: str, body: dict, **headers: str) -> httpx.Response:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return http.post(path, json=body, headers=sent)


def jobs_with(client: OpenAI, body: dict) -> list[str]:
    return [job.id for job in client.fine_tuning.jobs.list(metadata=body["metadata"])]


def test_a_key_makes_one(http: httpx.Client, client: OpenAI, job: dict) -> None:
    """The same request with the same key gets the first answer, byte for byte, and says so; one job is made."""
    key = uuid4().hex
    first = post(http, JOBS, job, idempotency_key=key)
    again = post(http, JOBS, job, idempotency_key=key)
    without_prefix = post(http, JOBS.removeprefix("/v1"), job, idempotency_key=key)
    assert "idempotent-replayed" not in first.headers
    for answer in (again, without_prefix):
        assert (answer.status_code, answer.content) == (200, first.content)
        assert answer.headers["idempotent-replayed"] == "true"
        assert answer.headers["x-request-id"] != first.headers["x-request-id"]
        assert answer.headers["content-type"] == first.headers["content-type"]
    assert jobs_with(client, job) == [first.json()["id"]]


def test_every_maker_keeps_its_word(http: httpx.Client, client: OpenAI) -> None:
    """Uploads, their completion, batches and webhook endpoints are made once too."""
    upload = client.uploads.create(**UPLOAD)
    part = client.uploads.parts.create(upload.id, data=b"abc")
    batch = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
    file = client.files.create(file=b'{"custom_id": "a"}\n', purpose="batch")
    endpoint = {"name": "a", "url": "https://example.com/hook", "event_types": ["batch.completed"]}
    for path, body in (
        ("/v1/uploads", UPLOAD),
        (f"/v1/uploads/{upload.id}/complete", {"part_ids": [part.id]}),
        ("/v1/batches", batch | {"input_file_id": file.id}),
        ("/v1/webhook_endpoints", endpoint),
    ):
        key = uuid4().hex
        first = post(http, path, body, idempotency_key=key)
        again = post(http, path, body, idempotency_key=key)
        assert first.status_code == 200, first.text
        assert (again.status_code, again.content) == (200, first.content)
        assert again.headers["idempotent-replayed"] == "true"
    assert http.delete(f"/v1/webhook_endpoints/{first.json()['id']}").status_code == 200


def test_a_key_belongs_to_one_request(http: httpx.Client, job: dict) -> None:
    """Another body or path with a used key is refused."""
    key = uuid4().hex
    assert post(http, JOBS, job, idempotency_key=key).status_code == 200
    for path, body in ((JOBS, job | {"seed": 1}), ("/v1/uploads", UPLOAD)):
        answer = post(http, path, body, idempotency_key=key)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (400, "idempotency_key_reused")


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_that_is_none(http: httpx.Client, job: dict, key: str) -> None:
    """A key has 1 to 255 characters."""
    error = post(http, JOBS, job, idempotency_key=key).json()["error"]
    assert (error["param"], error["code"]) == ("Idempotency-Key", "invalid_idempotency_key")
    assert post(http, JOBS, job, idempotency_key=uuid4().hex.ljust(255, "x")).status_code == 200


def test_what_was_refused_is_not_kept(http: httpx.Client, job: dict) -> None:
    """A refusal made nothing: the key can be used again, for the request put right."""
    key = uuid4().hex
    assert post(http, JOBS, {"model": "nano"}, idempotency_key=key).status_code == 400
    answer = post(http, JOBS, job, idempotency_key=key)
    assert answer.status_code == 200
    assert "idempotent-replayed" not in answer.headers


def test_what_makes_nothing_is_not_kept(http: httpx.Client) -> None:
    """A question to a model is asked each time."""
    asked = {"model": "nano", "messages": [{"role": "user", "content": "hello"}]}
    for _ in range(2):
        answer = post(http, "/v1/chat/completions", asked, idempotency_key="asked")
        assert answer.status_code == 200
        assert "idempotent-replayed" not in answer.headers


def test_at_once_with_one_key(
    server: Server, http: httpx.Client, client: OpenAI, job: dict
) -> None:
    """Of requests at once one makes the job; the others are told to wait, and the SDK gets the same job."""
    key = uuid4().hex
    with ThreadPoolExecutor(8) as threads:
        asked = threads.map(lambda _: post(http, JOBS, job, idempotency_key=key), range(8))
        answers = list(asked)
    for answer in answers:
        if answer.status_code != 200:
            assert answer.status_code == 409
            assert answer.headers["x-should-retry"] == "true"
            assert answer.headers["retry-after"] == "1"
    made = {answer.json()["id"] for answer in answers if answer.status_code == 200}
    patient = client.with_options(max_retries=5)
    sent = {"extra_headers": {"Idempotency-Key": key}}
    assert made == {patient.fine_tuning.jobs.create(**job, **sent).id}
    assert jobs_with(client, job) == list(made)


def test_the_sdks_own_retry(http: httpx.Client, client: OpenAI, job: dict) -> None:
    """A creation that the SDK repeats makes no second job; one that somebody sends anew does."""
    first = post(http, JOBS, job, x_stainless_retry_count="0").json()["id"]
    for count in ("1", "2"):
        again = post(http, JOBS, job, x_stainless_retry_count=count)
        assert (again.json()["id"], again.headers["idempotent-replayed"]) == (first, "true")
    anew = post(http, JOBS, job, x_stainless_retry_count="0").json()["id"]
    other = post(http, JOBS, job | {"seed": 1}, x_stainless_retry_count="1").json()["id"]
    assert sorted(jobs_with(client, job)) == sorted({first, anew, other})


def test_a_retry_of_long_ago(server: Server, http: httpx.Client, client: OpenAI, job: dict) -> None:
    """After ten minutes it is another request."""
    first = post(http, JOBS, job, x_stainless_retry_count="0").json()["id"]
    with closing(sqlite3.connect(server.settings.data_dir / "retune.db", timeout=10)) as database:
        database.execute(
            "UPDATE job_requests SET asked_at = asked_at - 601 WHERE job_id = ?", [first]
        )
        database.commit()
    assert post(http, JOBS, job, x_stainless_retry_count="1").json()["id"] != first


def test_another_key_is_another_client(server: Server, http: httpx.Client, job: dict) -> None:
    """The same body from another API key is not a retry."""

    async def second_key() -> str:
        async with open_store(server.settings.effective_database_url) as store:
            return (await create_key(store, name="second", organization_id="local"))[0]

    first = post(http, JOBS, job, x_stainless_retry_count="1").json()["id"]
    other = {"authorization": f"Bearer {asyncio.run(second_key())}"}
    assert post(http, JOBS, job, x_stainless_retry_count="1", **other).json()["id"] != first


def test_retries_at_once(http: httpx.Client, client: OpenAI, job: dict) -> None:
    """Retries that run into each other make one job."""
    with ThreadPoolExecutor(8) as threads:
        asked = threads.map(
            lambda count: post(http, JOBS, job, x_stainless_retry_count=str(count)), range(1, 9)
        )
        made = {answer.json()["id"] for answer in asked}
    assert jobs_with(client, job) == list(made)
    assert len(made) == 1


@pytest.mark.parametrize("first", [{"idempotency_key": "killed"}, {"x_stainless_retry_count": "0"}])
def test_killed_before_the_response(
    server: Server, http: httpx.Client, client: OpenAI, job: dict, first: dict
) -> None:
    """A server that dies between commit and response has made the job; asked again, another server returns it."""
    port = free_port()
    command = [sys.executable, "-m", "tests.dying_server", str(server.settings.data_dir)]
    process = subprocess.Popen([*command, server.settings.redis_url, str(port)], cwd=ROOT)
    headers = {"authorization": http.headers["authorization"]}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers) as dying:
        eventually(lambda: process.poll() is not None or answers(dying))
        with pytest.raises(httpx.RemoteProtocolError):
            post(dying, JOBS, job, **first)
    assert process.wait(10) == -9
    (made,) = jobs_with(client, job)
    again = post(http, JOBS, job, **first | {"x_stainless_retry_count": "1"})
    assert (again.status_code, again.json()["id"]) == (200, made)
    assert again.headers["idempotent-replayed"] == "true"
    assert jobs_with(client, job) == [made]


def answers(http: httpx.Client) -> bool:
    try:
        return http.get("/health").status_code == 200
    except httpx.ConnectError:
        return False
