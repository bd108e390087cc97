"""`retune report`: show how a job's model does next to its base."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from rich.console import Console

from api.cli.main import settings_from
from jobs.blobs import Blobs
from jobs.reports.view import print_report
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import JobNotFound
from schemas.fine_tuning import Job
from schemas.report import Report, ReportStatus
from schemas.settings import Settings

_NOT_YET: Final[dict[ReportStatus, str]] = {
    "pending": "waits for a worker",
    "running": "is being made",
    "failed": "could not be made",
    "skipped": "was not made",
}


class NotThere(Exception):
    """There is no report to show; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune report", description=__doc__)
    parser.add_argument(
        "which",
        metavar="JOB|FILE",
        help="a job of this machine's server, or a report.json that was downloaded",
    )
    options = parser.parse_args(arguments)
    try:
        path = Path(options.which)
        if not path.is_file():
            path = asyncio.run(_path_of(options.which, settings_from()))
        report = Report.model_validate_json(path.read_bytes())
    except NotThere as exc:
        print(f"retune report: {exc}", file=sys.stderr)
        return 1
    except (OSError, ValidationError) as exc:
        print(f"retune report: this is not a report that can be read: {exc}", file=sys.stderr)
        return 1
    print_report(report, Console())
    return 0


async def _path_of(job_id: str, settings: Settings) -> Path:
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_store(settings.effective_database_url) as store:
        try:
            job = (await store.jobs.get(job_id)).job
        except JobNotFound as exc:
            raise NotThere(f"there is neither a job nor a file {job_id}.") from exc
    if job.report is None or job.report.file_id is None:
        raise NotThere(_why_not(job))
    return Blobs(settings.data_dir).file_path(job.report.file_id)


def _why_not(job: Job) -> str:
    if job.report is None:
        return f"{job.id} has no report: it is {job.status}; one is made of a job that succeeds."
    reason = f" {job.report.reason}" if job.report.reason else ""
    return f"the report of {job.id} {_NOT_YET[job.report.status]}.{reason}"
