"""The page of a job: facts, actions, its log, and the numbers of its charts."""

import asyncio
import csv
import re

import httpx
import pytest

from jobs import events
from jobs.keys import create_key
from jobs.store.jobs import Outcome
from jobs.store.store import open_store
from schemas.fine_tuning import Hyperparameters, JobError
from schemas.report import JobReport
from tests.api_server import Server
from tests.dashboard.test_jobs import add
from tests.dashboard.test_signing_in import token
from tests.many_jobs import add_jobs
from tests.samples import job_report


def act(reader: httpx.Client, job_id: str, what: str) -> httpx.Response:
    csrf = token(reader.get(f"/ui/jobs/{job_id}").text)
    return reader.post(f"/ui/jobs/{job_id}/{what}", data={"csrf_token": csrf})


def page(reader: httpx.Client, job_id: str, query: str = "") -> str:
    answer = reader.get(f"/ui/jobs/{job_id}{query}")
    assert answer.status_code == 200, answer.text
    return answer.text


def told(server: Server, job_id: str, *new: object) -> None:
    async def tell() -> None:
        async with open_store(server.settings.effective_database_url) as store:
            await store.jobs.change(job_id, lambda found: Outcome(record=found, events=new))

    asyncio.run(tell())


@pytest.fixture(scope="module")
def running(server: Server) -> str:
    (job_id,) = add(server, count=1, steps=3000, statuses=["running"], suffix="runs")
    return job_id


def test_a_job_is_paused_resumed_and_cancelled_by_forms(server: Server, reader: httpx.Client):
    """Each form leads back to the page, which then offers what can be done next."""
    job_id = server.add_job(status="queued")
    assert "Next in the queue" in page(reader, job_id) or "Queued behind" in page(reader, job_id)
    assert act(reader, job_id, "pause").headers["location"] == f"/ui/jobs/{job_id}"
    assert "Paused" in page(reader, job_id)
    assert act(reader, job_id, "resume").status_code == 303
    assert "Queued" in page(reader, job_id)
    assert "Its training stops within seconds" in reader.get(f"/ui/jobs/{job_id}/cancel").text
    assert act(reader, job_id, "cancel").status_code == 303
    over = page(reader, job_id)
    assert "Cancelled" in over
    assert f'action="/ui/jobs/{job_id}/' not in over


def test_what_cannot_be_done_is_said(server: Server, reader: httpx.Client):
    """A form that comes too late is answered in the API's words."""
    job_id = server.add_job(status="cancelled")
    answer = act(reader, job_id, "pause")
    assert answer.status_code == 400
    assert "Cannot pause a fine-tuning job with status" in answer.text


def test_a_pause_that_is_on_its_way_can_be_taken_back(server: Server, reader: httpx.Client):
    """While the trainer saves, the page says so and offers to go on."""
    job_id = server.add_job(status="validating_files")
    act(reader, job_id, "pause")
    assert "pausing as soon as it is saved" in page(reader, job_id)
    act(reader, job_id, "resume")
    assert "pausing as soon as it is saved" not in page(reader, job_id)


def test_a_page_has_every_fact(server: Server, reader: httpx.Client):
    """Numbers, files, metadata and extensions stand under OpenAI's names, all as text."""
    numbers = Hyperparameters(
        n_epochs=3,
        batch_size=16,
        learning_rate_multiplier=0.5,
        lora_rank=8,
        lr_scheduler_type="cosine",
    )
    job_id = server.add_job(
        status="succeeded",
        fine_tuned_model="ft:nano:local:<b>:1",
        hyperparameters=numbers,
        trained_tokens=1234567,
        validation_file="file-valid",
        result_files=["file-result"],
        metadata={"<i>team": "<script>alert(1)</script>"},
        seed=77,
        finished_at=1_700_000_000,
    )
    shown = page(reader, job_id)
    for fact in (
        "16",
        "0.5",
        "1,234,567",
        "77",
        "lora_rank",
        "cosine",
        "file-valid",
        "file-result",
    ):
        assert f">{fact}<" in shown
    assert "<b>" not in shown
    assert "<script>alert" not in shown
    assert "model=ft%3Anano%3Alocal%3A%3Cb%3E%3A1&amp;model=retune-nano" in shown
    assert f'href="/ui/jobs/new?like={job_id}"' in shown


def test_an_error_comes_with_advice(server: Server, reader: httpx.Client):
    """In the reader's language; of a code that nobody foresaw only the message is shown."""
    known, unknown = (
        server.add_job(status="failed", error=JobError(code=code, message="It broke <here>."))
        for code in ("diverged", "never_heard_of")
    )
    assert "lower learning rate multiplier" in page(reader, known)
    assert "It broke &lt;here&gt;." in page(reader, unknown)
    reader.cookies.set("retune_language", "zh")
    assert "学习率倍数" in page(reader, known)
    reader.cookies.delete("retune_language")


@pytest.mark.parametrize(
    ("report", "says"),
    [
        (job_report(), "exact match: 0.125 before, 0.75 after, on 8 examples"),
        (
            job_report(source="training_file"),
            "These examples were learned from: they tell nothing of new ones.",
        ),
        (JobReport(status="pending"), "waits for a worker"),
        (
            JobReport(status="skipped", reason="No example can be asked."),
            "No example can be asked.",
        ),
    ],
)
def test_the_report_is_summed_up(server: Server, reader: httpx.Client, report, says):
    """The headline where there is one, else what the report waits for or why there is none."""
    shown = page(reader, server.add_job(status="succeeded", report=report))
    assert says in shown
    assert ("/report" in shown) == (report.status == "done")
    assert ("data-live" in shown) == (report.status == "pending")


def test_the_log_leaves_steps_out_until_they_are_asked_for(
    server: Server, reader: httpx.Client, running: str
):
    """Messages first; warnings alone; or every step, page by page."""
    told(server, running, events.noted("odd", "Three were cut", level="warn"))
    assert "Step 3000/3000" not in page(reader, running)
    assert "Created fine-tuning job" in page(reader, running)
    problems = page(reader, running, "?show=problems")
    assert "Three were cut" in problems
    assert "Created fine-tuning job" not in problems
    steps = page(reader, running, "?show=steps")
    assert "Step 3000/3000" in steps
    older = re.search(r'href="(/ui/jobs/[^"]*after=[^"#]*)', steps)
    assert older is not None
    assert "Step 2970/3000" in reader.get(older[1].replace("&amp;", "&")).text


def test_charts_get_few_points_of_many(reader: httpx.Client, running: str):
    """Thinned out on the server; what comes later is asked for after the newest."""
    metrics = reader.get(f"/ui/jobs/{running}/metrics").json()
    assert metrics["n_steps"] == 3000
    assert 1000 < len(metrics["curves"]["train_loss"]["steps"]) <= 1200
    assert len(metrics["curves"]["valid_loss"]["steps"]) == 300
    later = reader.get(f"/ui/jobs/{running}/metrics?after={metrics['last_event_id']}").json()
    assert later["n_steps"] == 0
    assert later["last_event_id"] == metrics["last_event_id"]


def test_the_file_of_numbers_has_them_all(reader: httpx.Client, running: str):
    """A row for each step, with what was not measured left empty."""
    answer = reader.get(f"/ui/jobs/{running}/metrics.csv")
    assert answer.headers["content-disposition"] == f'attachment; filename="{running}.csv"'
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert [int(row["step"]) for row in rows] == list(range(1, 3001))
    assert rows[0]["valid_loss"] == ""
    assert float(rows[9]["valid_loss"]) > 0


def test_examples_that_cannot_be_shown_say_why(server: Server, reader: httpx.Client):
    """Of a file that is gone, and of a base whose files cannot be read, with a way on."""
    gone = reader.get(f"/ui/jobs/{server.add_job(status='failed')}/examples")
    assert gone.status_code == 404
    assert "file-train" in gone.text
    assert "?show=problems#messages" in gone.text


@pytest.fixture(scope="module")
def theirs(server: Server) -> str:
    """A job of another project."""

    async def added() -> str:
        async with open_store(server.settings.effective_database_url) as store:
            (job_id,) = await add_jobs(
                store, count=1, steps=1, project_id="proj_other", statuses=["running"]
            )
            return job_id

    return asyncio.run(added())


@pytest.mark.parametrize("what", ["", "/metrics", "/metrics.csv", "/cancel", "/examples"])
def test_anothers_job_is_not_there(reader: httpx.Client, theirs: str, what):
    """A job of another project is no job, on no page."""
    assert reader.get(f"/ui/jobs/{theirs}{what}").status_code == 404


@pytest.mark.parametrize("what", ["cancel", "pause", "resume"])
def test_anothers_job_stays_as_it_is(server: Server, reader: httpx.Client, theirs: str, what):
    """Nor does a form change it."""
    csrf = token(reader.get("/ui/jobs").text)
    answer = reader.post(f"/ui/jobs/{theirs}/{what}", data={"csrf_token": csrf})
    assert answer.status_code == 404


def test_who_may_only_read_is_offered_nothing_else(server: Server, visitor: httpx.Client):
    """A key without the right to write sees the job but no form; one that is sent anyway is refused."""

    async def reading_key() -> str:
        async with open_store(server.settings.effective_database_url) as store:
            key, _ = await create_key(
                store, name="reads", organization_id="local", scopes=["api.fine_tuning.read"]
            )
            return key

    job_id = server.add_job(status="queued")
    visitor.post("/ui/sign-in", data={"key": asyncio.run(reading_key())})
    shown = page(visitor, job_id)
    assert f'action="/ui/jobs/{job_id}/' not in shown
    assert f"/ui/jobs/{job_id}/cancel" not in shown
    assert act(visitor, job_id, "cancel").status_code in {401, 403}
    assert "Queued" in page(visitor, job_id)
    examples = visitor.get(f"/ui/jobs/{job_id}/examples")
    assert examples.status_code in {401, 403}
    assert "api.files.read" in examples.text
