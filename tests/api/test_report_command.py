"""`retune report`, as it is called."""

import asyncio

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
        ({"status": "succeeded", "report": JobReport(status="pending")}, "waits for a worker."),
        (
            {"status": "succeeded", "report": JobReport(status="skipped", reason="It is gone.")},
            "was not made. It is gone.",
        ),
    ],
)
def test_a_job_without_a_report_says_why(data_dir, capsys, fields, told):
    """And what to expect."""
    job_id = add_job(data_dir, **fields)
    assert command.main([job_id]) == 1
    assert told in capsys.readouterr().err


def test_what_is_no_report_is_told(data_dir, tmp_path, capsys):
    """Neither a job nor a file, or a file of something else."""
    assert command.main(["ftjob-nobody"]) == 1
    assert "there is neither a job nor a file ftjob-nobody" in capsys.readouterr().err
    other = tmp_path / "other.json"
    other.write_text("{}")
    assert command.main([str(other)]) == 1
    assert "not a report that can be read" in capsys.readouterr().err
