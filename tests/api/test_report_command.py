"""`retune report`, as it is called."""

import asyncio
import os
import subprocess
import sys

import pytest

from api.cli import report as command
from jobs.blobs import Blobs
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.report import Compared, JobReport, Report, Scores
from tests.samples import job_report, measure, record


@pytest.fixture
def made() -> Report:
    """A report of one measure."""
    examples = Compared(
        source="validation_file", file_id="file-1", n_available=8, n_chosen=8, n_compared=8,
        n_in_training=0, left_out=[],
    )  # fmt: skip
    scores = Scores(headline=measure(), measures=[measure()], bleu=None, labels=None)
    return Report(
        job_id="ftjob-1", created_at=1, base_model="nano", tuned_model="ft:nano:local::abcd1234",
        examples=examples, scores=scores, notes=[], pairs=[],
    )  # fmt: skip


@pytest.fixture
def data_dir(settings, monkeypatch):
    """The machine's data directory, with its records."""
    monkeypatch.setenv("RETUNE_DATA_DIR", str(settings.data_dir))
    Blobs(settings.data_dir).prepare()
    migrate(settings.effective_database_url)
    return settings


def add_job(settings, **fields) -> str:
    async def add():
        async with open_store(settings.effective_database_url) as store:
            made = record(**fields)
            await store.jobs.add(made, [])
            return made.job.id

    return asyncio.run(add())


def test_a_downloaded_report_is_shown(tmp_path, made, capsys):
    """Without a server."""
    path = tmp_path / "report.json"
    path.write_text(made.model_dump_json())
    assert command.main([str(path)]) == 0
    assert "ft:nano:local::abcd1234" in capsys.readouterr().out


def test_a_jobs_report_is_shown(data_dir, made, capsys):
    """By the job's id, on the server's machine."""
    job_id = add_job(data_dir, status="succeeded", report=job_report())
    Blobs(data_dir.data_dir).file_path("file-report").write_text(made.model_dump_json())
    assert command.main([job_id]) == 0
    assert "exact match" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"status": "running"}, "has no report: it is running; one is made of a job that succeeds"),
        (
            {"status": "succeeded", "report": JobReport(status="pending", reason="No engine.")},
            "waits for a worker of `retune serve`. No engine. Ask again in a minute.",
        ),
        (
            {"status": "succeeded", "report": JobReport(status="running")},
            "is being made. Ask again in a minute",
        ),
        (
            {"status": "succeeded", "report": JobReport(status="failed", reason="It died.")},
            "could not be made. It died. It is not tried again. The job's model answers",
        ),
        (
            {"status": "succeeded", "report": JobReport(status="skipped", reason="It is gone.")},
            "was not made. It is gone. It will not be made later.",
        ),
    ],
)
def test_a_job_without_a_report_says_why(data_dir, capsys, fields, told):
    """And what to expect."""
    job_id = add_job(data_dir, **fields)
    assert command.main([job_id]) == 1
    assert told in capsys.readouterr().err


def test_a_report_is_printed_as_json(data_dir, made, capsys):
    """As it was written: for other programs."""
    job_id = add_job(data_dir, status="succeeded", report=job_report())
    written = made.model_dump_json(indent=2)
    Blobs(data_dir.data_dir).file_path("file-report").write_text(written + "\n")
    assert command.main([job_id, "--json"]) == 0
    assert capsys.readouterr().out == written + "\n"


def test_a_report_that_was_deleted_says_so(data_dir, capsys):
    """The job still names it."""
    job_id = add_job(data_dir, status="succeeded", report=job_report())
    assert command.main([job_id]) == 1
    assert "was made, but its file file-report was deleted." in capsys.readouterr().err


def test_asking_makes_no_database(tmp_path, monkeypatch, capsys):
    """Where no server ever ran, the command says where it looked, and leaves nothing."""
    monkeypatch.setenv("RETUNE_DATA_DIR", str(tmp_path / "nobody"))
    assert command.main(["ftjob-1"]) == 1
    assert f"no server has kept jobs in {tmp_path / 'nobody'} yet" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_database_that_does_not_answer_is_told(monkeypatch, tmp_path, capsys):
    """In words, as a database that cannot be used is."""
    monkeypatch.setenv("RETUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("RETUNE_DATABASE_URL", "postgresql://nobody:secret@127.0.0.1:1/x")
    assert command.main(["ftjob-1"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("retune report: The database cannot be used: connection failed")
    assert "secret" not in told


def test_a_terminal_without_unicode_is_shown_escapes(tmp_path, made):
    """Not a traceback: answers are in any script."""
    note = made.model_copy(update={"notes": ["карта 卡"]})
    (tmp_path / "report.json").write_text(note.model_dump_json())
    shown = subprocess.run(
        [sys.executable, "-m", "api.cli.main", "report", str(tmp_path / "report.json")],
        env=os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
        capture_output=True,
        check=True,
    )
    assert b"\\u043a\\u0430" in shown.stdout
    assert shown.stderr == b""


def test_what_is_no_report_is_told(data_dir, tmp_path, capsys):
    """Neither a job nor a file, or a file of something else."""
    assert command.main(["ftjob-nobody"]) == 1
    assert "there is neither a job nor a file ftjob-nobody" in capsys.readouterr().err
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert command.main([str(other)]) == 1
    assert "not a report that can be read" in capsys.readouterr().err
