"""Reports: whatever happens, a job that has succeeded gets one, once, and stays as it ended."""

import asyncio
import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest

from jobs import events, inference
from jobs.batch_pace import Pace
from jobs.claims import Claim
from jobs.engines import ChatTarget
from jobs.graders.children import ChildFailed, Children
from jobs.holding_out import places_held_out
from jobs.reports.making import make
from jobs.reports.runner import ReportRunner, see_through
from jobs.reports.states import BEGIN_AFTER, MAX_FAILURES, awaited, begun
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.records import FileRecord, ModelRecord, Plan
from schemas.chat import ChatRequest
from schemas.errors import ModelServerUnavailable
from schemas.fine_tuning import Hyperparameters
from schemas.report import Report
from schemas.training import StepDone
from tests import samples
from tests.api_server import catalog, opener
from tests.batches import CALLER, record_creator
from tests.fake_engine import running_fake_engine
from tests.jobs.claims_made import messages
from tests.jobs.usage_read import usage_of_jobs
from tests.polling import eventually


@pytest.fixture
def socket(short_tmp_path):
    return short_tmp_path / "engine.sock"


@pytest.fixture
def engine(socket):
    with running_fake_engine(socket) as running:
        yield running


@pytest.fixture
async def services(settings, redis_url, engine, nano_dir):
    settings = settings.model_copy(update={"redis_url": redis_url, "report_examples": 10})
    await asyncio.to_thread(migrate, settings.effective_database_url)
    offered = catalog(engine, directory=nano_dir)
    async with opener(engine, offered=offered)(settings) as opened:
        await record_creator(opened)
        yield opened


@pytest.fixture
async def runner(services):
    running = asyncio.create_task(ReportRunner(services, owner="worker-test").run())
    yield
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


def example(asked, answer):
    return {
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    }


def jsonl(examples) -> bytes:
    """Lines of examples, or of what is asked and answered."""
    written = (each if isinstance(each, dict) else example(*each) for each in examples)
    return b"".join(json.dumps(each).encode() + b"\n" for each in written)


async def keep(services, examples):
    """Keep a file of examples."""
    content = jsonl(examples)
    async with services.blobs.incoming() as incoming:
        await incoming.write(content)
        blob = await incoming.finish()
        file = samples.file(bytes=len(content))
        await services.blobs.keep_file(blob, file.id)
    await services.store.files.add(file, FileRecord(project_id="proj_a", sha256=blob.sha256))
    return file.id


LEARNED = [(f"learned code {n % 3}", f"code {n % 3}") for n in range(20)]
"""The tuned model of the tests' engine answers these as the file says."""
HELD = [("hold", "never answered")]


async def succeeded(
    services,
    *,
    name="abcd",
    training=(("say hello", "hello"),) * 10,
    validation=LEARNED,
    split=None,
):
    """Leave a job as publication leaves it, but that its report need not be waited for."""
    record = samples.record(
        status="succeeded",
        training_file=await keep(services, training),
        validation_file=None if validation is None else await keep(services, validation),
        fine_tuned_model=model_name(name),
        result_files=["file-csv"],
        finished_at=int(time.time()),
        hyperparameters=Hyperparameters(validation_split=split),
    ).model_copy(update={"base": "nano", "plan": Plan(n_examples=len(training))})
    await services.store.jobs.add(record, [])
    model = ModelRecord(
        name=model_name(name), project_id="proj_a", organization_id="local", base="nano",
        adapter_id="adapter-1", job_id=record.job.id, created_at=1,
    )  # fmt: skip
    waiting = awaited(record, n_examples=services.settings.report_examples, now=0.0)
    await services.store.jobs.change(record.job.id, lambda _: Outcome(record=waiting, model=model))
    return record.job


def model_name(name):
    return f"ft:nano:local::{name}"


async def reported(services, job, *, status="done", seconds=30):
    """Return the job once its report is so."""
    async with asyncio.timeout(seconds):
        while (now := (await services.store.jobs.get(job.id)).job).report.status != status:
            await asyncio.sleep(0.05)
    return now


def read(services, job):
    return Report.model_validate_json(services.blobs.file_path(job.report.file_id).read_bytes())


async def claimed(services, job, *, now=None):
    now = time.time() if now is None else now
    record = await services.store.jobs.claim_report(
        job.id, partial(begun, now=now), owner="worker-a", now=now, lease=0.0
    )
    return Claim(services, record)


async def seen_through(services, job):
    """Have one worker try to make the report, and return the job."""
    await see_through(await claimed(services, job, now=time.time() + 1e6), Pace(services))
    return (await services.store.jobs.get(job.id)).job


async def test_a_report_compares_both_models_on_the_validation_file(services, runner, engine):
    """The tuned model answers as the file says, the base does not; the job says so, and its report is a file."""
    before = await succeeded(services)
    job = await reported(services, before)
    assert job.report.headline.verdict == "better"
    assert (job.report.headline.name, job.report.headline.n) == ("exact_match", 10)
    assert (job.report.headline.base, job.report.headline.tuned) == (0, 1)
    assert job.report.source == "validation_file"
    report = read(services, job)
    assert (report.base_model, report.tuned_model) == ("nano", before.fine_tuned_model)
    assert report.examples.model_dump() == {
        "source": "validation_file", "file_id": before.validation_file, "n_available": 20,
        "n_chosen": 10, "n_compared": 10, "n_in_training": 0, "left_out": [], "n_candidates": 0,
    }  # fmt: skip
    assert report.scores.headline == job.report.headline
    assert {label.label for label in report.scores.labels.labels} == {"code 0", "code 1", "code 2"}
    assert report.notes == job.report.notes == []
    assert [each.outcome for each in report.comparisons] == ["win"] * 10
    assert all(each.base.seconds > 0 and each.base.n_tokens == 4 for each in report.comparisons)
    assert report.latency.tuned.n == 10
    pair = report.pairs[0]
    assert pair.prompt == f"learned {pair.reference.text}"
    assert pair.tuned.text == pair.reference.text
    assert pair.base.text == "Hello, wörld 🙂"
    assert engine.most_generating <= 4
    assert len(engine.requests) == 20
    assert {request["temperature"] for request in engine.requests} == {0}


async def test_the_job_stays_as_it_ended(services, runner):
    """No status, time or event changes; the first result file is the one that was there."""
    before = await succeeded(services)
    after = await reported(services, before)
    assert after.result_files == ["file-csv", after.report.file_id]
    shown = {"report", "result_files"}
    assert after.model_dump(exclude=shown) == before.model_dump(exclude=shown)
    assert await messages(services, before.id) == []
    told = await services.store.outbox.claim(now=time.time() + 1e6, lease=1.0, busy=[], limit=9)
    assert told == []
    file = await services.store.files.get(after.report.file_id, project_id="proj_a")
    assert (file.filename, file.purpose) == ("report.json", "fine-tune-results")
    record = await services.store.jobs.get(before.id)
    assert (record.owner, record.lease_until) == (None, 0)


async def test_without_a_validation_file_the_report_says_what_it_is_worth(services):
    """Training examples are asked, and the first note cannot be overlooked."""
    job = await seen_through(services, await succeeded(services, training=LEARNED, validation=None))
    assert job.report.source == "training_file"
    report = read(services, job)
    assert report.notes[0].startswith("THESE EXAMPLES WERE TRAINED ON")
    assert report.examples.n_in_training == report.examples.n_compared == 10


@pytest.mark.parametrize(("n_measured", "is_told"), [(3, True), (1, False)])
async def test_examples_that_chose_the_model_are_no_test_set(services, n_measured, is_told):
    """Where their loss chose among states of the model, file and job say so; of one state nothing was chosen."""
    job = await succeeded(services)
    record = await services.store.jobs.get(job.id)
    step = {"total_steps": 4, "train_loss": 1.0, "train_mean_token_accuracy": 0.5}
    taken = {"learning_rate": 0.1, "grad_norm": 1.0, "tokens": 9, "seconds": 1.0}
    told = [
        events.step_done(
            StepDone(step=n, full_valid_loss=0.5 if n <= n_measured else None, **step, **taken)
        )
        for n in range(1, 5)
    ]
    await services.store.jobs.change(job.id, lambda _: Outcome(record=record, events=told))
    job = await seen_through(services, job)
    report = read(services, job)
    assert report.examples.n_candidates == n_measured
    assert any("no untouched test set" in note for note in report.notes) is is_told
    assert job.report.notes == report.notes


async def test_what_was_held_out_of_the_training_file_is_asked(services):
    """Of a job with a split: the examples that it was not trained on, and no others."""
    training = [(f"learned code {n}", f"code {n}") for n in range(40)]
    before = await succeeded(services, training=training, validation=None, split=0.2)
    job = await seen_through(services, before)
    report = read(services, job)
    assert (report.examples.source, report.examples.file_id) == (
        "validation_split",
        before.training_file,
    )
    assert (report.examples.n_available, report.examples.n_in_training) == (8, 0)
    held_out = places_held_out(40, share=0.2, seed=before.seed)
    assert {pair.example for pair in report.pairs} == {place + 1 for place in held_out}


async def test_examples_that_leaked_are_counted(services):
    """Validation examples that were trained on flatter the tuned model; the report says how many they are."""
    job = await succeeded(services, training=LEARNED[:1] * 10, validation=LEARNED[:8])
    report = read(services, await seen_through(services, job))
    # Of 0 to 7, modulo 3: those of code 0 are all written alike.
    assert report.examples.n_in_training == 3
    assert report.notes[0].startswith("3 of these 8 examples are in the training file too")


async def test_what_cannot_be_asked_is_left_out_and_told(services):
    """What the engine refuses, what it fails at, and what is too long; the others are compared."""
    bad = [("refuse", "a"), ("fail", "b"), ("x " * 600, "c")]
    job = await succeeded(services, validation=[*bad, *LEARNED[:5]])
    report = read(services, await seen_through(services, job))
    assert report.examples.n_compared == 5
    left_out = {each.reason: each.n for each in report.examples.left_out}
    assert left_out == {"refused": 1, "no_answer": 1, "too_long": 1}
    assert any("stop cannot contain" in note for note in report.notes)


async def test_answers_that_were_cut_are_told(services):
    """An answer that was still going on counts as what there is of it."""
    job = await succeeded(services, validation=[("cut", "Hello, wörld 🙂")])
    report = read(services, await seen_through(services, job))
    assert report.pairs[0].base.is_cut
    assert "1 answer(s) of the base were cut" in " ".join(report.notes)
    assert any("few" in note for note in report.notes)


async def test_questions_of_a_report_are_nobodys_usage(services, engine):
    """Nothing is counted, limited or kept; each project has its own cache."""
    await seen_through(services, await succeeded(services))
    await services.meter.write()
    assert await usage_of_jobs(services, kind="completions") == []
    kept = await services.store.chat_completions.page(
        project_id="proj_a", model=None, metadata=None, limit=9, after=None, order="desc"
    )
    assert kept.data == []
    of_the_project = ChatTarget("nano", services.catalog.get("nano"), None, "proj_a").cache_salt
    assert {request["cache_salt"] for request in engine.requests} == {of_the_project}


async def test_clients_come_first(services, runner, engine):
    """While six clients ask the engine themselves, a report asks one question at a time."""
    engine.answers_after = 0.05
    hold = {"model": "nano", "messages": [{"role": "user", "content": "hold"}]}
    held = [
        await inference.prepare(services, CALLER, ChatRequest.model_validate(hold))
        for _ in range(6)
    ]
    clients = [asyncio.create_task(inference.complete(services, each)) for each in held]
    await asyncio.to_thread(eventually, lambda: engine.generating == len(clients))
    await reported(services, await succeeded(services))
    assert engine.most_generating == len(clients) + 1
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)


async def test_calls_of_offered_tools_are_compared(services):
    """Name and arguments of what the engine calls, next to what the example calls."""
    function = {"name": "weather", "arguments": '{"city":"Paris"}'}
    call = {"id": "c", "type": "function", "function": function}
    calling = {
        "messages": [
            {"role": "user", "content": "call"},
            {"role": "assistant", "tool_calls": [call]},
        ],
        "tools": [{"type": "function", "function": {"name": "weather"}}],
    }
    job = await succeeded(services, validation=[calling])
    headline = (await seen_through(services, job)).report.headline
    assert (headline.name, headline.base, headline.tuned) == ("tool_calls", 1, 1)
    assert headline.verdict == "cannot_tell"


async def test_what_has_no_answer_in_time_is_left_out(services, engine):
    """The report is made of what there is; of nothing there is none, and it is tried again."""
    settings = services.settings.model_copy(update={"report_seconds": 1.0})
    hasty = replace(services, settings=settings)
    some = await succeeded(services, validation=[*LEARNED[:4], ("hold", "x")])
    report = read(services, await seen_through(hasty, some))
    assert report.examples.n_compared == 4
    assert [(each.reason, each.n) for each in report.examples.left_out] == [("no_answer", 1)]
    none = await seen_through(hasty, await succeeded(services, name="none", validation=HELD))
    assert none.report.status == "pending"
    assert "There was no answer in time" in none.report.reason


async def test_questions_are_asked_of_both_models_in_turn(services, engine):
    """Whenever the time is over, at most four have one answer of two."""
    await seen_through(services, await succeeded(services))
    ahead = 0
    for request in engine.requests:
        ahead += 1 if request["model"].startswith("base-") else -1
        assert 0 <= ahead <= 4
    assert ahead == 0


async def test_an_operator_can_turn_reports_off(services, engine):
    """The job says that it was, and nothing is asked."""
    record = samples.record(status="succeeded")
    job = awaited(record, n_examples=0, now=0.0).job
    assert job.report.status == "skipped"
    assert "RETUNE_REPORT_EXAMPLES" in job.report.reason


async def test_a_report_leaves_the_first_question_to_the_user(services):
    """It is due some seconds after the job's end."""
    job = await succeeded(services)
    due = services.store.jobs.reports_due
    await services.store.jobs.change(
        job.id, lambda record: Outcome(record=awaited(record, n_examples=1, now=100.0))
    )
    assert await due(now=100.0 + BEGIN_AFTER - 1, limit=9) == []
    assert await due(now=100.0 + BEGIN_AFTER, limit=9) == [job.id]


async def test_what_was_deleted_is_not_compared(services):
    """A file, the tuned model or the base: the report is skipped, and says which is gone."""
    of_no_file = await succeeded(services)
    await services.store.files.delete(of_no_file.validation_file, project_id="proj_a")
    told = (await seen_through(services, of_no_file)).report
    assert (told.status, told.reason) == (
        "skipped",
        f"The file {of_no_file.validation_file} was deleted.",
    )


async def test_a_deleted_model_is_not_compared(services, engine):
    """Also where it is deleted while it is asked."""
    engine.answers_after = 0.2
    job = await succeeded(services)
    making = asyncio.create_task(seen_through(services, job))
    await asyncio.to_thread(eventually, lambda: engine.generating)
    await services.store.models.delete(job.fine_tuned_model, project_id="proj_a", now=1)
    told = (await making).report
    assert (told.status, told.reason) == ("skipped", "The tuned model was deleted.")
    assert await result_files(services) == []


class NoEngines:
    """An engine that never comes."""

    async def ready(self, _base):
        raise ModelServerUnavailable("The engine of 'nano' does not start.")


async def test_what_fails_is_tried_again_and_given_up(services):
    """Later each time; after some tries the report has failed with the reason, and the job has not."""
    job = await succeeded(services)
    without = replace(services, engines=NoEngines())
    pauses = []
    for _ in range(MAX_FAILURES):
        job = await seen_through(without, job)
        record = await services.store.jobs.get(job.id)
        pauses.append(record.next_run_at - time.time())
    assert pauses[:3] == pytest.approx([5, 10, 20], abs=1)
    assert (job.status, job.report.status, job.error) == ("succeeded", "failed", None)
    assert job.report.reason.startswith(
        "The engine of 'nano' does not start. It was given up after"
    )
    assert await services.store.jobs.reports_due(now=time.time() + 1e6, limit=9) == []


async def test_an_engine_that_comes_back_is_waited_for(services, runner, socket):
    """While it starts, the report is running; no try is lost."""
    held = socket.with_name("away.sock")
    socket.rename(held)
    job = await succeeded(services)
    await reported(services, job, status="running")
    held.rename(socket)
    await reported(services, job)
    assert (await services.store.jobs.get(job.id)).infra_failures == 0


async def test_answers_that_cannot_be_measured_are_tried_again(services):
    """The process that measures died; what it said is not believed."""
    job = await seen_through(replace(services, report_children=Dying()), await succeeded(services))
    assert job.report.status == "pending"
    assert job.report.reason == "The answers could not be measured. It was ended by signal 9."


class Dying(Children):
    """Processes that measure, and are killed."""

    async def ask(self, *_args, **_more):
        raise ChildFailed("It was ended by signal 9.")


async def test_what_was_answered_is_not_asked_again(services, engine):
    """Where answers cannot be measured, the next try measures those that there are."""
    job = await seen_through(replace(services, report_children=Dying()), await succeeded(services))
    assert len(engine.requests) == 20
    job = await seen_through(services, job)
    assert len(engine.requests) == 20
    assert (job.report.headline.n, job.report.headline.verdict) == (10, "better")
    assert services.blobs.work_ids() == []


class Fickle:
    """The services' engines, of which one goes away after some answers."""

    def __init__(self, engines, *, answers):
        self._engines = engines
        self._left = answers

    def __getattr__(self, name):
        return getattr(self._engines, name)

    async def is_there(self, _base):
        return False

    def open_answer(self, target, body):
        self._left -= 1
        if self._left < 0:
            raise ModelServerUnavailable("The engine of 'nano' has gone.")
        return self._engines.open_answer(target, body)


async def test_an_engine_that_goes_away_costs_no_answers(services, engine):
    """The next worker asks what is left; what was refused is not asked again, and a torn line is."""
    job = await succeeded(services, validation=[("refuse", "a"), *LEARNED[:9]])
    fickle = replace(services, engines=Fickle(services.engines, answers=13))
    job = await seen_through(fickle, job)
    assert job.report.reason == "The engine of 'nano' has gone."
    (kept,) = services.blobs.work_dir(f"report-{job.id}").iterdir()
    n_kept = kept.read_bytes().count(b'{"number"')
    assert 1 < n_kept < 10
    kept.write_bytes(kept.read_bytes()[:-20])
    asked = len(engine.requests)
    job = await seen_through(services, job)
    assert read(services, job).examples.n_compared == 9
    assert len(engine.requests) - asked in {2 * (11 - n_kept), 2 * (11 - n_kept) - 1}


async def test_answers_of_other_weights_are_asked_again(services, engine):
    """An operator gave the base another directory meanwhile: what the old one answered does not count."""
    job = await seen_through(replace(services, report_children=Dying()), await succeeded(services))
    (kept,) = services.blobs.work_dir(f"report-{job.id}").iterdir()
    kept.write_text(kept.read_text().replace('"of":"fp_', '"of":"fp_other'))
    await seen_through(services, job)
    assert len(engine.requests) == 40


async def test_a_report_that_kills_its_workers_is_given_up(services, engine):
    """The first death is followed by another try at once, the others later each time; then the job says why."""
    job, now = await succeeded(services), 100.0
    waits = []
    while (record := await services.store.jobs.get(job.id)).job.report.status != "failed":
        begin = partial(begun, now=now)
        claimed = await services.store.jobs.claim_report(
            job.id, begin, owner="worker-a", now=now, lease=0.0
        )
        waits.append(max(0.0, claimed.next_run_at - now))
        now += 1000  # the worker dies and says nothing
        assert len(waits) < 20
    assert [wait for wait in waits if wait] == [40, 160]
    assert "The worker that made it was killed" in record.job.report.reason
    assert "given up" in record.job.report.reason
    assert (record.job.status, record.job.error, record.owner) == ("succeeded", None, None)
    assert record.job.fine_tuned_model == job.fine_tuned_model
    assert await services.store.jobs.reports_due(now=now + 1e6, limit=9) == []


async def test_a_bug_of_ours_does_not_hang_the_report(services, engine):
    """Whatever breaks, it is taken up again."""
    broken = replace(services, engines=None)
    job = await seen_through(broken, await succeeded(services))
    assert job.report.status == "pending"
    assert job.report.reason == "The server had an error while making it."


async def test_a_worker_that_is_told_to_stop_gives_the_report_back(services, engine):
    """Another may begin at once, and no failure is counted."""
    job = await succeeded(services, validation=HELD)
    task = asyncio.create_task(see_through(await claimed(services, job), Pace(services)))
    await asyncio.to_thread(eventually, lambda: engine.generating)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    record = await services.store.jobs.get(job.id)
    assert (record.owner, record.infra_failures) == (None, 0)
    assert record.job.report.status == "pending"
    assert await services.store.jobs.reports_due(now=time.time(), limit=9) == [job.id]
    eventually(lambda: not engine.generating)


async def test_a_late_worker_writes_no_second_report(services):
    """Who lost the claim leaves neither a file nor a word."""
    job = await succeeded(services)
    late = await claimed(services, job)
    successor = await claimed(services, job, now=time.time() + 1)
    await see_through(late, Pace(services))
    assert (await services.store.jobs.get(job.id)).job.report.status == "running"
    assert await result_files(services) == []
    await see_through(successor, Pace(services))
    (file,) = await result_files(services)
    assert (await services.store.jobs.get(job.id)).job.result_files == ["file-csv", file.id]


class CancelledAfterCommit(Claim):
    """A claim that is cancelled when its change is in the database, but has not returned."""

    async def change(self, change):
        await super().change(change)
        raise asyncio.CancelledError


async def test_a_cancellation_after_the_commit_takes_nothing_back(services):
    """The report that the job names is there."""
    job = await succeeded(services)
    claim = CancelledAfterCommit(services, (await claimed(services, job)).record)
    with pytest.raises(asyncio.CancelledError):
        await make(claim, Pace(services))
    job = (await services.store.jobs.get(job.id)).job
    assert read(services, job).job_id == job.id


async def test_a_killed_worker_costs_no_report(services, engine):
    """Killed in the middle; the next makes the one report that there is, without waiting for the lease."""
    engine.answers_after = 0.2
    job = await succeeded(services)
    with running_worker(services, engine):  # which ends by a kill
        await asyncio.to_thread(eventually, lambda: len(engine.requests) > 3, seconds=90)
    held = await services.store.jobs.get(job.id)
    assert (held.job.report.status, held.owner is None) == ("running", False)
    await services.store.jobs.change(job.id, lasting_long)
    engine.answers_after = 0.0
    with running_worker(services, engine):
        job = await reported(services, job, seconds=90)
    assert read(services, job).examples.n_compared == len(LEARNED)
    (file,) = await result_files(services)
    assert file.id == job.report.file_id


def lasting_long(record):
    """Let the dead worker's lease outlast the test."""
    return Outcome(record=record.model_copy(update={"lease_until": time.time() + 1e6}))


@contextmanager
def running_worker(services, engine):
    settings = services.settings
    base_dir = services.catalog.get("nano").directory
    command = [sys.executable, "-m", "tests.batch_worker", str(settings.data_dir)]
    with subprocess.Popen(
        [*command, settings.effective_redis_url, engine.url, str(base_dir)]
    ) as worker:
        try:
            yield
        finally:
            worker.kill()


async def result_files(services):
    page = await services.store.files.page(
        project_id="proj_a", purpose="fine-tune-results", limit=9, after=None, order="desc"
    )
    return page.data
