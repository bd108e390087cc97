"""instructor: pydantic models out of a tuned model, and its command line for files, jobs and batches."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import instructor
from instructor.batch import BatchProcessor
from openai import OpenAI
from pydantic import BaseModel
from steps import BASE, EXAMPLES, TRAINING_FILE, finished, step, until

COMMAND = str(Path(sys.executable).with_name("instructor"))
MODEL = os.environ["FINE_TUNED_MODEL"]
plain = OpenAI()


class Ticket(BaseModel):
    """What the customer wants."""

    code: Literal["CARD-LOST", "PIN-HELP"]


def main() -> None:
    print(version("instructor"))
    # What is begun in the background ignores Ctrl-C, and so would the commands begun here.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    library()
    of_files()
    of_jobs()
    with tempfile.TemporaryDirectory() as directory:
        of_batches(Path(directory))


def library() -> None:
    """A response model by tools and by JSON schema."""
    for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
        client = instructor.from_openai(OpenAI(), mode=mode)
        ticket = client.chat.completions.create(
            model=MODEL,
            messages=EXAMPLES[0][:-1],
            response_model=Ticket,
            temperature=0,
            max_tokens=64,
            max_retries=0,
        )
        assert isinstance(ticket, Ticket)
    step("response_model by tools and by JSON schema")


def run(*arguments: str) -> str:
    """A command that ends by itself."""
    done = subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "250"},
    )
    return done.stdout


def watch(*arguments: str, until_true) -> str:
    """A command that shows a table until Ctrl-C, which comes when there is enough to see."""
    with subprocess.Popen(
        [COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"COLUMNS": "250", "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            until(until_true)
        finally:
            process.send_signal(signal.SIGINT)
        return process.communicate(timeout=30)[0]


def of_files() -> None:
    before = {file.id for file in plain.files.list()}
    assert "uploaded successfully" in run("files", "upload", str(TRAINING_FILE))
    (made,) = {file.id for file in plain.files.list()} - before
    assert made in run("files", "list")
    run("files", "status", made)
    assert "deleted successfully" in run("files", "delete", made)
    assert made not in {file.id for file in plain.files.list()}
    step("files upload, list, status, delete")


def of_jobs() -> None:
    before = {job.id for job in plain.fine_tuning.jobs.list()}

    def succeeded():
        new = [job for job in plain.fine_tuning.jobs.list(limit=1) if job.id not in before]
        return new and finished(plain.fine_tuning.jobs.retrieve, new[0].id)

    shown = watch(
        "jobs", "create-from-file", str(TRAINING_FILE), "--model", BASE, "--poll", "1",
        "--n-epochs", "5", "--batch-size", "4", "--model-suffix", "instructor",
        until_true=succeeded,
    )  # fmt: skip
    job = plain.fine_tuning.jobs.list(limit=1).data[0]
    assert f"Fine-tuning job created with ID: {job.id}" in shown.replace("\n", " ")
    assert ":instructor:" in job.fine_tuned_model
    answer = plain.chat.completions.create(
        model=job.fine_tuned_model, messages=EXAMPLES[0][:-1], temperature=0, max_tokens=12
    )
    assert answer.choices[0].message.content == EXAMPLES[0][-1]["content"]
    step("jobs create-from-file: the job, its table, what was trained")

    other = plain.fine_tuning.jobs.create(model=BASE, training_file=job.training_file)
    assert "cancelled successfully" in run("jobs", "cancel", other.id)
    assert plain.fine_tuning.jobs.retrieve(other.id).status == "cancelled"
    step("jobs cancel")


def of_batches(directory: Path) -> None:
    processor = BatchProcessor(f"openai/{MODEL}", Ticket)
    questions = [messages[:-1] for messages in EXAMPLES[:3]]
    path = directory / "batch.jsonl"
    processor.create_batch_from_messages(
        messages_list=questions, file_path=str(path), max_tokens=64, temperature=0
    )
    created = run("batch", "create-from-file", "--file-path", str(path))
    batch = plain.batches.list(limit=1).data[0]
    assert batch.id in created
    until(lambda: plain.batches.retrieve(batch.id).status == "completed")
    assert batch.id in run("batch", "list", "--limit", "1", "--full-id")
    results = processor.retrieve_results(batch.id)
    assert [type(result.result) for result in results] == [Ticket] * 3, results
    step("batch create-from-file, list; BatchProcessor.retrieve_results")
    output = directory / "output.jsonl"
    run("batch", "download-file", "--batch-id", batch.id, "--download-file-path", str(output))
    assert len([json.loads(line) for line in output.read_text().splitlines()]) == 3
    step("batch download-file")


if __name__ == "__main__":
    main()
