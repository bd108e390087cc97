"""The report of a job, where it was made and its file is still there."""

from asyncio import to_thread

from jobs import files
from jobs.keys import Caller
from jobs.services import Services
from schemas.errors import FileNotFound
from schemas.fine_tuning import Job
from schemas.report import Report


async def find(services: Services, caller: Caller, job: Job) -> Report | None:
    """Return a job's report; None where there is none, or its file was deleted."""
    if job.report is None or job.report.file_id is None:
        return None
    try:
        _, path = await files.content_path(services, caller, job.report.file_id)
        content = await to_thread(path.read_bytes)
    except (FileNotFound, FileNotFoundError):
        return None
    return await to_thread(Report.model_validate_json, content)
