"""Running batches: whatever happens, each request is answered once, and the batch ends."""

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from jobs import batches, housekeeping, inference
from jobs.batch_claim import BatchClaim
from jobs.batch_pace import Pace
from jobs.batch_run import BatchRunner, see_through
from jobs.store.batches import BatchOutcome
from jobs.store.migrate import migrate
from jobs.store.records import Fenced
from schemas.batches import BatchCreate
from schemas.chat import ChatRequest
from schemas.errors import BatchNotFound, Conflict, InvalidRequest, MissingScope
from schemas.files import ExpiresAfter
from schemas.settings import Settings
from tests.api_server import opener
from tests.batches import (
    CALLER,
    create,
    is_over,
    jsonl,
    line,
    record_creator,
    results,
    until,
    upload,
)
from tests.fake_engine import running_fake_engine
from tests.polling import eventually


@pytest.fixture
def socket(short_tmp_path):
    return short_tmp_path / "engine.sock"


@pytest.fixture
def engine(socket):
    with running_fake_engine(socket) as running:
        yield running


@pytest.fixture
async def services(settings, redis_url, engine):
    settings = settings.model_copy(update={"redis_url": redis_url, "batch_concurrency": 4})
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with opener(engine)(settings) as opened:
        await record_creator(opened)
        yield opened


@pytest.fixture
async def runner(services):
    running = asyncio.create_task(BatchRunner(services, owner="worker-test").run())
    yield
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def asked(engine) -> Counter:
    """How often each request came to the engine, by its last message."""
    return Counter(request["messages"][-1]["content"] for request in engine.requests)


def work_dirs(services):
    return [name for name in services.blobs.work_ids() if name.startswith("batch_")]


async def expire(services, batch):
    """Let the batch's time be over."""

    def change(record):
        over = record.batch.model_copy(update={"expires_at": int(time.time()) - 1})
        return BatchOutcome(record=record.model_copy(update={"batch": over}))

    await services.store.batches.change(batch.id, change)


async def test_a_batch_is_run_to_its_end(services, runner, engine):
    """Answers come in the output file, refusals in the error file, and the object says what happened when."""
    lines = [line(f"good-{n}") for n in range(20)] + [line("bad", "refuse")]
    lines.append(line("odd", body={"model": "nano", "messages": [], "best_of": 3}))
    batch = await until(services, (await create(services, lines)).id, is_over)
    found = results(services, batch)
    assert set(found["output"]) == {f"good-{n}" for n in range(20)}
    answer = found["output"]["good-3"]
    assert answer["error"] is None
    assert answer["response"]["status_code"] == 200
    assert answer["response"]["body"]["choices"][0]["message"]["content"] == "Hello, wörld 🙂"
    assert answer["response"]["body"]["model"] == "nano"
    assert found["error"]["bad"]["response"]["status_code"] == 400
    refusal = found["error"]["odd"]["response"]["body"]["error"]
    assert refusal["type"] == "invalid_request_error"
    assert batch.status == "completed"
    assert batch.model == "nano"
    assert batch.request_counts.model_dump() == {"total": 22, "completed": 20, "failed": 2}
    assert (batch.usage.input_tokens, batch.usage.output_tokens) == (140, 80)
    assert batch.usage.total_tokens == 220
    times = [batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at]
    assert None not in times
    assert times == sorted(times)
    assert (batch.failed_at, batch.expired_at, batch.cancelled_at) == (None, None, None)
    assert engine.most_generating <= 4
    assert work_dirs(services) == []


async def test_only_files_with_lines_are_made(services, runner):
    """Without a failure there is no error file; without a success no output file."""
    good = await create(services, [line("a")])
    bad = await create(services, [line("a", "refuse")])
    good = await until(services, good.id, is_over)
    bad = await until(services, bad.id, is_over)
    assert good.output_file_id
    assert good.error_file_id is None
    assert bad.status == "completed"
    assert bad.output_file_id is None
    assert bad.error_file_id


async def test_its_files_are_the_projects_and_expire_as_asked(services, runner):
    """They have OpenAI's purpose, and go after the seconds that the batch was created with."""
    asked_for = ExpiresAfter(anchor="created_at", seconds=7200)
    batch = await create(services, [line("a")], output_expires_after=asked_for)
    batch = await until(services, batch.id, is_over)
    file = await services.store.files.get(batch.output_file_id, project_id="proj_a")
    assert file.purpose == "batch_output"
    assert file.filename == f"{batch.id}_output.jsonl"
    assert file.expires_at == file.created_at + 7200
    assert file.bytes == services.blobs.file_path(file.id).stat().st_size


async def test_a_bad_file_fails_the_batch(services, runner, engine):
    """Nothing is asked, and the errors name the lines."""
    batch = await create(services, [line("a"), line("a")])
    batch = await until(services, batch.id, is_over)
    assert batch.status == "failed"
    assert batch.failed_at
    error = batch.errors.data[0]
    assert (error.code, error.line) == ("duplicate_custom_id", 2)
    assert engine.requests == []


async def test_a_model_that_is_not_there_fails_the_batch(services, runner):
    """The first line is named, in the words of the live endpoint."""
    body = line("a")["body"] | {"model": "ft:nano:else::12345678"}
    batch = await until(services, (await create(services, [line("a", body=body)])).id, is_over)
    error = batch.errors.data[0]
    assert (batch.status, error.code, error.line) == ("failed", "model_not_found", 1)
    assert error.param == "body.model"
    assert "does not exist or you do not have access to it" in error.message


async def test_an_input_that_is_deleted_before_the_batch_begins_fails_it(services):
    """The batch says so; it does not wait for ever."""
    batch = await create(services, [line("a")])
    await services.blobs.delete_file(batch.input_file_id)
    task = asyncio.create_task(BatchRunner(services, owner="worker-test").run())
    batch = await until(services, batch.id, is_over)
    task.cancel()
    assert batch.errors.data[0].code == "invalid_input_file"


async def test_an_input_that_is_deleted_later_changes_nothing(services, runner, engine):
    """The batch holds on to the bytes."""
    engine.answers_after = 0.2
    batch = await create(services, [line(f"{n}") for n in range(20)])
    await until(services, batch.id, lambda found: found.status == "in_progress")
    await services.blobs.delete_file(batch.input_file_id)
    batch = await until(services, batch.id, is_over)
    assert batch.request_counts.completed == 20


async def test_a_key_that_is_revoked_asks_no_more(services, runner, engine):
    """What it had asked is kept; what is left is refused, line by line, as the live endpoint would."""
    engine.answers_after = 0.1
    batch = await create(services, [line(f"{n}") for n in range(400)])
    await until(services, batch.id, lambda found: found.request_counts.completed > 10)
    assert await services.store.keys.revoke(CALLER.key_id, now=int(time.time()))
    batch = await until(services, batch.id, is_over)
    assert batch.status == "completed"
    found = results(services, batch)
    assert len(found["output"]) >= 10
    assert len(found["error"]) > 200
    refused = found["error"]["399"]["response"]
    assert refused["status_code"] == 401
    assert refused["body"]["error"]["code"] == "invalid_api_key"
    assert "revoked" in refused["body"]["error"]["message"]


async def test_a_batch_of_an_archived_project_fails(services, engine):
    """Nothing is asked for a project that nobody can use any more."""
    batch = await create(services, [line("a")])
    project = await services.store.projects.find("proj_a", organization_id="local")
    await services.store.projects.update(project.model_copy(update={"archived_at": 1}))
    await see_through(await claimed(services, batch), Pace(services))
    batch = await batches.get(services, CALLER, batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "invalid_api_key")
    assert engine.requests == []


async def test_who_may_not_ask_creates_no_batch(services):
    """A key for batches that may ask no model, or not this endpoint, is refused as the endpoint would."""
    file_id = await upload(services, jsonl([line("a")]))
    for endpoint, missing in (
        ("/v1/chat/completions", "model.request"),
        ("/v1/embeddings", "model.request"),
        ("/v1/responses", "api.responses.write"),
    ):
        scopes = frozenset({"api.batch.write", "api.files.read"})
        request = BatchCreate(input_file_id=file_id, endpoint=endpoint, completion_window="24h")
        with pytest.raises(MissingScope, match=f"Missing scopes: {missing}"):
            await batches.create(services, CALLER.model_copy(update={"scopes": scopes}), request)


async def test_a_key_that_may_ask_no_more_stops_its_batch(services):
    """Restrictions that come after the creation hold as well."""
    batch = await create(services, [line("a")])
    key = await services.store.keys.find_open(CALLER.key_id)
    await services.store.keys.update(key.model_copy(update={"scopes": ("api.batch.write",)}))
    await see_through(await claimed(services, batch), Pace(services))
    batch = await batches.get(services, CALLER, batch.id)
    assert (batch.status, batch.errors.data[0].code) == ("failed", "missing_scope")


async def test_cancelling_keeps_what_was_answered(services, runner, engine):
    """It is cancelling at once and cancelled within ten seconds; what was not asked is in the error file."""
    lines = [line(f"{n}") for n in range(8)] + [line(f"held-{n}", "hold") for n in range(8)]
    batch = await create(services, lines)
    await until(services, batch.id, lambda found: found.request_counts.completed == 8)
    asked_at = time.monotonic()
    cancelling = await batches.cancel(services, CALLER, batch.id)
    assert cancelling.status == "cancelling"
    assert cancelling.cancelling_at
    assert (await batches.cancel(services, CALLER, batch.id)).status == "cancelling"
    batch = await until(services, batch.id, is_over, seconds=10)
    assert time.monotonic() - asked_at < 10
    assert batch.status == "cancelled"
    assert batch.cancelled_at
    found = results(services, batch)
    assert set(found["output"]) == {f"{n}" for n in range(8)}
    assert set(found["error"]) == {f"held-{n}" for n in range(8)}
    assert found["error"]["held-0"]["response"] is None
    assert found["error"]["held-0"]["error"]["code"] == "batch_cancelled"
    assert batch.request_counts.model_dump() == {"total": 16, "completed": 8, "failed": 8}
    eventually(lambda: not engine.generating)
    with pytest.raises(Conflict, match=r"^Cannot cancel a batch with status 'cancelled'\.$"):
        await batches.cancel(services, CALLER, batch.id)


async def test_a_batch_that_no_worker_saw_can_be_cancelled(services):
    """A worker that comes later ends it without files."""
    batch = await create(services, [line("a")])
    await batches.cancel(services, CALLER, batch.id)
    task = asyncio.create_task(BatchRunner(services, owner="worker-test").run())
    batch = await until(services, batch.id, is_over)
    task.cancel()
    assert (batch.status, batch.output_file_id, batch.error_file_id) == ("cancelled", None, None)


async def test_what_is_not_answered_in_time_expires(services, runner):
    """The batch is expired, with the answers it has, and OpenAI's words for the others."""
    lines = [line("a"), line("b", "hold"), line("c", "hold")]
    batch = await create(services, lines)
    await until(services, batch.id, lambda found: found.request_counts.completed == 1)
    await expire(services, batch)
    batch = await until(services, batch.id, is_over, seconds=15)
    assert batch.status == "expired"
    assert batch.expired_at
    found = results(services, batch)
    assert set(found["output"]) == {"a"}
    assert found["error"]["b"]["error"] == {
        "code": "batch_expired",
        "message": "This request could not be executed before the completion window expired.",
    }


async def test_an_engine_that_is_away_is_waited_for(services, runner, engine, socket):
    """Requests fail by no absence of the engine; they are answered once it is back."""
    held = socket.with_name("away.sock")
    socket.rename(held)
    batch = await create(services, [line(f"{n}") for n in range(5)])
    await until(services, batch.id, lambda found: found.status == "in_progress")
    held.rename(socket)
    batch = await until(services, batch.id, is_over)
    assert batch.request_counts.model_dump() == {"total": 5, "completed": 5, "failed": 0}


async def test_a_request_that_the_engine_fails_at_stops_no_other(services, runner, engine):
    """An engine that is up and fails again and again is believed."""
    batch = await create(services, [line("poison", "fail"), line("a")])
    batch = await until(services, batch.id, is_over)
    found = results(services, batch)
    assert set(found["output"]) == {"a"}
    assert found["error"]["poison"]["response"]["status_code"] == 503
    assert asked(engine)["fail"] > 2


async def test_clients_come_first(services, runner, engine):
    """While six clients wait for the engine themselves, a batch asks one request at a time."""
    engine.answers_after = 0.2
    held = ChatRequest.model_validate(line("x", "hold")["body"])
    questions = [await inference.prepare(services, CALLER, held) for _ in range(6)]
    clients = [asyncio.create_task(inference.complete(services, each)) for each in questions]
    batch = await create(services, [line(f"{n}") for n in range(60)])
    # At full speed, twenty-four would take longer than the worker needs to look at the engine.
    found = await until(services, batch.id, lambda found: found.request_counts.completed > 24)
    engine.most_generating = 0
    later = found.request_counts.completed + 4
    await until(services, batch.id, lambda found: found.request_counts.completed > later)
    assert engine.most_generating == len(clients) + 1
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    await until(services, batch.id, is_over)


async def test_a_killed_worker_loses_no_answer_and_none_comes_twice(services, engine):
    """Killed twice in the middle; each request is in the output once, and few are asked again."""
    lines = [line(f"{n}", f"message {n}") for n in range(300)]
    engine.answers_after = 0.02
    batch = await create(services, lines)
    for least in (40, 140):
        worker = start_worker(services, engine)
        await asyncio.to_thread(eventually, lambda: len(asked(engine)) > least)  # noqa: B023
        worker.kill()
        await asyncio.to_thread(worker.wait)
    last = start_worker(services, engine)
    batch = await until(services, batch.id, is_over)
    last.terminate()
    await asyncio.to_thread(last.wait)
    assert batch.status == "completed"
    found = results(services, batch)
    assert set(found["output"]) == {f"{n}" for n in range(300)}
    assert batch.request_counts.model_dump() == {"total": 300, "completed": 300, "failed": 0}
    assert batch.usage.total_tokens == 300 * 11
    again = len(engine.requests) - 300
    assert again <= 2 * Settings.model_fields["batch_concurrency"].default


def start_worker(services, engine):
    settings = services.settings
    command = [sys.executable, "-m", "tests.batch_worker", str(settings.data_dir)]
    return subprocess.Popen([*command, settings.effective_redis_url, engine.url])


@pytest.mark.slow
async def test_many_requests_take_little_memory(services, engine):
    """Five thousand requests of a kilobyte go through a worker in a minute, and it grows by less than 24 MB."""
    worker = start_worker(services, engine)
    small = await create(services, (line(f"{n}", "x" * 1000) for n in range(100)))
    await until(services, small.id, is_over)
    before = peak_megabytes(worker.pid)
    began = time.monotonic()
    batch = await create(services, (line(f"{n}", "x" * 1000) for n in range(5000)))
    batch = await until(services, batch.id, is_over, seconds=120)
    took = time.monotonic() - began
    grown = peak_megabytes(worker.pid) - before
    worker.terminate()
    await asyncio.to_thread(worker.wait)
    print(f"5,000 requests: {took:.1f} s, {grown:.1f} MB")
    assert batch.request_counts.completed == 5000
    assert len(results(services, batch)["output"]) == 5000
    assert took < 60
    assert grown < 24


def peak_megabytes(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


async def claimed(services, batch):
    record = await services.store.batches.claim(
        batch.id, owner="worker-a", now=time.time(), lease=0.0
    )
    return BatchClaim(services, record)


async def test_a_late_worker_ends_nobody_elses_batch(services):
    """Who lost the claim writes nothing, and leaves no file behind."""
    batch = await create(services, [line("a")])
    late = await claimed(services, batch)
    successor = await claimed(services, batch)
    await see_through(late, Pace(services))
    assert (await batches.get(services, CALLER, batch.id)).status == "validating"
    with pytest.raises(Fenced):
        await late.change(lambda record: BatchOutcome(record=record))
    await see_through(successor, Pace(services))
    assert (await batches.get(services, CALLER, batch.id)).status == "completed"


async def test_a_worker_that_is_told_to_stop_gives_its_batch_back(services, engine):
    """Another may take it at once."""
    batch = await create(services, [line("a", "hold")])
    claim = await claimed(services, batch)
    task = asyncio.create_task(see_through(claim, Pace(services)))
    await asyncio.to_thread(eventually, lambda: engine.generating)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await services.store.batches.get(batch.id)
    assert (record.owner, record.batch.status) == (None, "in_progress")
    assert await services.store.batches.claimable(now=time.time(), limit=5) == [batch.id]


async def test_what_breaks_is_taken_up_again(services):
    """A worker that cannot use its directory leaves the batch for later, and does not hang."""
    batch = await create(services, [line("a")])
    claim = await claimed(services, batch)
    directory = services.blobs.work_dir(batch.id)
    directory.rmdir()
    directory.write_text("in the way")
    await see_through(claim, Pace(services))
    record = await services.store.batches.get(batch.id)
    assert (record.owner, record.infra_failures) == (None, 1)
    assert record.next_run_at > time.time()


async def test_what_a_finished_batch_left_is_tidied_up(services):
    """A worker that was killed between the end and its tidying leaves a directory; a running batch keeps its own."""
    done, running = await create(services, [line("a")]), await create(services, [line("a")])
    await see_through(await claimed(services, done), Pace(services))
    for batch in (done, running):
        services.blobs.work_dir(batch.id)
    await housekeeping.tidy(services, now=int(time.time()))
    assert work_dirs(services) == [running.id]


async def test_what_is_anothers_is_not_there(services):
    """Another project sees no batch, cancels none, and uses no file."""
    batch = await create(services, [line("a")])
    stranger = CALLER.model_copy(update={"project_id": "proj_b"})
    with pytest.raises(BatchNotFound):
        await batches.get(services, stranger, batch.id)
    with pytest.raises(BatchNotFound):
        await batches.cancel(services, stranger, batch.id)
    with pytest.raises(InvalidRequest):
        await batches._check_file(services, stranger, batch.input_file_id)
    page = await batches.list_batches(services, stranger, after=None, limit=5)
    assert page.data == []
