"""The main job with OpenAI's SDK: upload, create, wait, ask. Everything is real; the base is tiny."""

import asyncio
import csv
import io
import json
import os
import re
import subprocess
import sys
import time

import openai
import pytest

from serving.vllm import Vllm
from tests.e2e.journey import ask, create_job, demo_lines, events, finished, upload
from tests.e2e.server import KEY

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def succeeded(client):
    """A job of two epochs with a validation file, seen through."""
    validation = upload(client, demo_lines("heldout.jsonl")[:12], "valid.jsonl")
    job = create_job(
        client,
        suffix="Bank Codes",
        seed=11,
        validation_file=validation.id,
        hyperparameters={"n_epochs": 4, "batch_size": 4},
        metadata={"team": "e2e"},
    )
    assert job.status == "validating_files"
    assert job.hyperparameters.n_epochs == 4
    assert job.hyperparameters.learning_rate_multiplier == "auto"
    job = finished(client, job.id)
    assert job.status == "succeeded", (job.error, events(client, job.id))
    return job


def test_the_job_says_what_it_did(succeeded, client):
    """Every field of a finished job is filled as OpenAI fills it."""
    assert re.fullmatch(
        r"ft:retune-nano:local:bank-codes:[A-Za-z0-9]{8}", succeeded.fine_tuned_model
    )
    assert succeeded.trained_tokens > 1000
    assert succeeded.finished_at >= succeeded.created_at
    assert succeeded.estimated_finish is None
    assert succeeded.error is None
    assert isinstance(succeeded.hyperparameters.learning_rate_multiplier, float | int)
    assert succeeded.seed == 11
    assert succeeded.metadata == {"team": "e2e"}


def test_events_come_in_openais_order_and_words(succeeded, client):
    """Oldest first: created, validating, validated, started, steps, checkpoints, model, completed."""
    told = events(client, succeeded.id)
    ours = [re.sub(r"(ftjob|file)-\w+", r"\1-X", message) for message in told]
    assert ours[:4] == [
        "Created fine-tuning job: ftjob-X",
        "Validating training file: file-X and validation file: file-X",
        "Files validated, moving job to queued state",
        "Fine-tuning job started",
    ]
    assert told[-2:] == [
        f"New fine-tuned model created: {succeeded.fine_tuned_model}",
        "The job has successfully completed",
    ]
    steps = [m for m in told if m.startswith("Step ")]
    assert len(steps) == 40
    assert re.fullmatch(r"Step 1/40: training loss=\d+\.\d\d(, .*)?", steps[0])
    assert re.fullmatch(
        r"Step 40/40: training loss=\d+\.\d\d, validation loss=\d+\.\d\d, full validation loss=\d+\.\d\d",
        steps[-1],
    )


def test_the_tuned_model_answers_otherwise_than_its_base(succeeded, client):
    """On what it was trained on it gives a code; the base gives none."""
    codes = {line["messages"][-1]["content"] for line in demo_lines("train.jsonl")}
    texts = [line["messages"][-2]["content"] for line in demo_lines("train.jsonl")[:10]]
    tuned = [ask(client, succeeded.fine_tuned_model, text) for text in texts]
    base = [ask(client, "retune-nano", text) for text in texts]
    assert sum(answer in codes for answer in tuned) >= 8, tuned
    assert not any(answer in codes for answer in base), base


def test_streaming_gives_the_same_answer_with_usage(succeeded, client):
    """Chunks add up to the whole answer; the last one counts the tokens."""
    text = demo_lines("train.jsonl")[0]["messages"][-2]["content"]
    whole = ask(client, succeeded.fine_tuned_model, text)
    stream = client.chat.completions.create(
        model=succeeded.fine_tuned_model,
        messages=demo_lines("train.jsonl")[0]["messages"][:-1],
        temperature=0,
        max_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {succeeded.fine_tuned_model}
    assert chunks[-1].usage.total_tokens > 0
    assert chunks[-1].choices == []


def test_checkpoints_are_models_that_answer(succeeded, client):
    """The last three epochs, newest first; the last is the model itself."""
    listed = client.fine_tuning.jobs.checkpoints.list(succeeded.id).data
    assert [c.step_number for c in listed] == [40, 30, 20]
    assert listed[0].fine_tuned_model_checkpoint == succeeded.fine_tuned_model
    assert listed[1].fine_tuned_model_checkpoint.endswith(":ckpt-step-30")
    assert listed[1].metrics.full_valid_loss is not None
    assert ask(client, listed[1].fine_tuned_model_checkpoint, "My card is gone") is not None


def test_the_result_file_has_a_row_a_step(succeeded, client):
    """CSV with OpenAI's header; empty cells where nothing was measured."""
    result = succeeded.result_files[0]
    assert client.files.retrieve(result).purpose == "fine-tune-results"
    rows = list(csv.reader(io.StringIO(client.files.content(result).text)))
    assert rows[0] == [
        "step",
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_mean_token_accuracy",
    ]
    assert [row[0] for row in rows[1:]] == [str(n) for n in range(1, 41)]
    assert rows[2][3] == ""
    assert float(rows[10][3]) > 0


def test_the_job_says_whether_it_is_better_than_its_base(succeeded, client, server):
    """Soon after its end, with all answers in a second result file, which a terminal shows."""
    job = reported(client, succeeded.id)
    assert job.report["status"] == "done", job.report
    assert job.result_files == [*succeeded.result_files[:1], job.report["file_id"]]
    headline = job.report["headline"]
    assert (headline["name"], headline["n"]) == ("exact_match", 12)
    assert headline["base"] == 0
    report = json.loads(client.files.content(job.report["file_id"]).text)
    assert report["examples"]["source"] == "validation_file"
    assert report["examples"]["n_compared"] == 12
    codes = {line["messages"][-1]["content"] for line in demo_lines("train.jsonl")}
    assert sum(pair["tuned"]["text"] in codes for pair in report["pairs"]) >= 6, report["pairs"]
    assert not any(pair["base"]["text"] in codes for pair in report["pairs"])
    assert events(client, job.id)[-1] == "The job has successfully completed"
    shown = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "report", job.id],
        env=os.environ | {"RETUNE_DATA_DIR": str(server.data_dir), "COLUMNS": "100"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert succeeded.fine_tuned_model in shown.stdout
    assert "exact match" in shown.stdout


def reported(client, job_id, *, seconds=120):
    """Wait for a job's report."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.report["status"] in {"done", "failed", "skipped"}:
            return job
        time.sleep(0.2)
    raise AssertionError(f"the report of {job_id} is still {job.report} after {seconds} s")


def test_curl_can_do_it_too(succeeded, server):
    """The same question by curl, the answer as JSON, the headers OpenAI's."""
    body = {"model": succeeded.fine_tuned_model, "messages": [{"role": "user", "content": "Hi"}]}
    done = subprocess.run(
        [
            *("curl", "-sS", "-D", "-", f"{server.url}/chat/completions"),
            *("-H", f"Authorization: Bearer {KEY}", "-H", "Content-Type: application/json"),
            *("-d", json.dumps(body | {"max_tokens": 5})),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    head, _, answer = done.stdout.replace("\r", "").partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    assert re.search(r"^x-request-id: req_[0-9a-f]{32}$", head, re.MULTILINE)
    assert json.loads(answer)["object"] == "chat.completion"


def test_a_job_can_go_on_from_a_tuned_model(succeeded, client):
    """Training further starts where the first left off: its first loss is far below the first's."""
    first = [
        e
        for e in client.fine_tuning.jobs.list_events(succeeded.id, limit=100)
        if e.type == "metrics"
    ]
    job = create_job(
        client, base=succeeded.fine_tuned_model, hyperparameters={"n_epochs": 1, "batch_size": 4}
    )
    job = finished(client, job.id)
    assert job.status == "succeeded", job.error
    assert job.fine_tuned_model.startswith("ft:retune-nano:local::")
    second = [
        e for e in client.fine_tuning.jobs.list_events(job.id, limit=100) if e.type == "metrics"
    ]
    assert second[-1].data["train_loss"] < first[-1].data["train_loss"] / 2


def test_cancelling_frees_the_device_within_seconds(client, server):
    """The answer says cancelled at once; the trainer is gone within ten seconds."""
    job = create_job(client, hyperparameters={"n_epochs": 50, "batch_size": 1})
    deadline = time.monotonic() + 60
    while not any("Step " in message for message in events(client, job.id)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    trainers = set(
        server.pids("-m jobs.training")
    )  # the one: none is kept warm while another trains
    began = time.monotonic()
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    while trainers & set(server.pids("-m jobs.training")):
        assert time.monotonic() - began < 10
        time.sleep(0.05)
    assert finished(client, job.id).status == "cancelled"
    assert events(client, job.id)[-1] == "Fine-tuning job cancelled"
    with pytest.raises(openai.BadRequestError, match="Cannot cancel"):
        client.fine_tuning.jobs.cancel(job.id)


def test_a_deleted_model_answers_no_more(client, server):
    """Its name is gone from the list, the engine has let go of it, and asking it is a 404."""
    job = finished(client, create_job(client, hyperparameters={"n_epochs": 1, "batch_size": 8}).id)
    name = job.fine_tuned_model
    assert ask(client, name, "Hello") is not None
    before = resident_adapters(server)
    assert client.models.delete(name).deleted
    assert len(before - resident_adapters(server)) == 1
    assert name not in {model.id for model in client.models.list()}
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, name, "Hello")
    assert caught.value.code == "model_not_found"


def resident_adapters(server):
    """What the engine itself says it has."""
    (socket,) = (server.data_dir / "run").glob("base-*.sock")

    async def ask_the_engine():
        async with Vllm(f"unix://{socket}") as vllm:
            return await vllm.list_models()

    return asyncio.run(ask_the_engine())


def test_a_validation_file_that_leaks_is_told(client):
    """Examples that are in both files are counted in a warning; the job goes on."""
    examples = demo_lines("train.jsonl")[:16]
    validation = upload(client, examples[:3] + demo_lines("heldout.jsonl")[:2])
    job = create_job(
        client,
        examples=examples,
        validation_file=validation.id,
        hyperparameters={"n_epochs": 1, "batch_size": 8},
    )
    assert finished(client, job.id).status == "succeeded"
    (told,) = [message for message in events(client, job.id) if "word for word" in message]
    assert told.startswith("3 example(s) of the validation file")


def test_a_bad_file_fails_the_job_with_the_line(client):
    """Creating it succeeds, as at OpenAI; the job then says which line and what to do."""
    lines = demo_lines("train.jsonl")[:12]
    lines[6] = {"messages": [{"role": "user", "content": "no answer"}]}
    job = finished(client, create_job(client, examples=lines).id)
    assert job.status == "failed"
    assert job.error.param == "training_file"
    assert job.error.code == "invalid_training_file"
    assert "Example 7" in job.error.message
    assert "line 7" in job.error.message
    assert events(client, job.id)[-1] == job.error.message
