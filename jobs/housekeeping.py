"""What time takes away: files past their date, and what a trainer left of a job that is over."""

from typing import Final

from jobs import files
from jobs.lifecycle import is_terminal
from jobs.responses import operations as responses
from jobs.services import Services
from schemas.errors import JobNotFound
from schemas.fine_tuning import Job

_SETTLED_AFTER: Final = 60
"""Seconds after a job's end: its trainer is gone by then."""
_FAILURES_KEPT: Final = 7 * 24 * 3600
"""Seconds: somebody may want to read the trainer's log."""


async def tidy(services: Services, *, now: int) -> None:
    """Delete what nobody can need any more. Safe to repeat, and to run in several workers.

    Args:
        services: Open.
        now: Unix seconds.
    """
    await files.delete_expired(services, now=now)
    await responses.delete_expired(services, now=now)
    for job_id in services.blobs.work_ids():
        try:
            job = (await services.store.jobs.get(job_id)).job
        except JobNotFound:
            continue  # another database's: not ours to delete
        if is_done_with(job, now=now):
            await services.blobs.delete_work_dir(job_id)


def is_done_with(job: Job, *, now: int) -> bool:
    """Whether a job's work directory can go: resume points, unpublished adapters, the trainer's log."""
    if not is_terminal(job.status) or job.finished_at is None:
        return False
    kept = _FAILURES_KEPT if job.status == "failed" else _SETTLED_AFTER
    return now - job.finished_at > kept
