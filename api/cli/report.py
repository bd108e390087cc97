"""`retune report`: show how a job's model does next to its base."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Final

from pydantic import ValidationError
from rich.console import Console

from api.cli.main import settings_from
from jobs.blobs import Blobs
from jobs.reports.view import print_report
from jobs.store.database import DatabaseUnusable
from jobs.store.migrate import exists, migrate
from jobs.store.store import open_store
from schemas.errors import ApiError, JobNotFound
from schemas.fine_tuning import Job
from schemas.report import Report, ReportStatus
from schemas.settings import Settings

_NOT_YET: Final[dict[ReportStatus, tuple[str, str]]] = {
    "pending": ("waits for a worker of `retune serve`.", "Ask again in a minute."),
    "running": ("is being made.", "Ask again in a minute; a busy engine takes longer."),
    "failed": (
        "could not be made.",
        "It is not tried again. The job's model answers all the same.",
    ),
    "skipped": ("was not made.", "It will not be made later. The job itself has succeeded."),
}
"""What it does, and what to expect."""


class NotThere(Exception):
    """There is no report to show; the message says why."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune report", description=__doc__)
    parser.add_argument(
        "which",
        metavar="JOB|FILE",
        help="a job of this machine's server, which need not run, or a report.json that was downloaded",
    )
    parser.add_argument("--json", action="store_true", help="print report.json as it is")
    options = parser.parse_args(arguments)
    try:
        content = _content(options.which)
        report = Report.model_validate_json(content)
    except (NotThere, DatabaseUnusable, ApiError) as exc:
        print(f"retune report: {exc}", file=sys.stderr)
        return 1
    except (OSError, ValidationError) as exc:
        print(f"retune report: this is not a report that can be read: {exc}", file=sys.stderr)
        return 1
    if isinstance(sys.stdout, TextIOWrapper):
        # Answers are in any script; a terminal that lacks it shows escapes, not a traceback.
        sys.stdout.reconfigure(errors="backslashreplace")
    if options.json:
        print(content.decode().rstrip())
    else:
        print_report(report, Console())
    return 0


def _content(which: str) -> bytes:
    path = Path(which)
    if path.is_file():
        return path.read_bytes()
    settings = settings_from()
    file_id = asyncio.run(_file_of(which, settings))
    try:
        return Blobs(settings.data_dir).file_path(file_id).read_bytes()
    except FileNotFoundError as exc:
        raise NotThere(
            f"the report of {which} was made, but its file {file_id} was deleted."
        ) from exc


async def _file_of(job_id: str, settings: Settings) -> str:
    url = settings.effective_database_url
    # Asking is no reason to make a database.
    if not exists(url):
        raise NotThere(
            f"there is no file {job_id}, and no server has kept jobs in {settings.data_dir} yet. Set "
            "RETUNE_DATA_DIR (or RETUNE_DATABASE_URL) as for `retune serve`, or name a report.json."
        )
    await asyncio.to_thread(migrate, url)
    async with open_store(url) as store:
        try:
            job = (await store.jobs.get(job_id)).job
        except JobNotFound as exc:
            raise NotThere(
                f"there is neither a job nor a file {job_id} (jobs are looked for in {settings.data_dir})."
            ) from exc
    if job.report is None or job.report.file_id is None:
        raise NotThere(_why_not(job))
    return job.report.file_id


def _why_not(job: Job) -> str:
    if job.report is None:
        return f"{job.id} has no report: it is {job.status}; one is made of a job that succeeds."
    what, then = _NOT_YET[job.report.status]
    reason = f" {job.report.reason}" if job.report.reason else ""
    return f"the report of {job.id} {what}{reason} {then}"
