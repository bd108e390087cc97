"""What time takes away: files, uploads and kept answers past their date, and what a trainer left of a job that is over."""

import asyncio
from typing import Final

from jobs import files, stored_completions, uploads
from jobs.batch_lifecycle import is_over
from jobs.lifecycle import is_terminal
from jobs.reports.kept import PREFIX, forget_answers
from jobs.reports.states import is_open
from jobs.responses import operations as responses
from jobs.services import Services
from schemas.errors import BatchNotFound, JobNotFound
from schemas.fine_tuning import Job

_ABANDONED_AFTER: Final = 3600
"""Seconds without a megabyte: no client is so slow."""
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
    await stored_completions.delete_expired(services, now=now)
    await responses.delete_expired(services, now=now)
    await uploads.delete_over(services, now=now)
    await services.store.idempotency.forget(now=now)
    await asyncio.to_thread(services.blobs.sweep_abandoned, before=now - _ABANDONED_AFTER)
    for work_id in services.blobs.work_ids():
        if work_id.startswith("batch_"):
            await _tidy_batch(services, work_id)
        elif work_id.startswith(PREFIX):
            await _tidy_report(services, work_id.removeprefix(PREFIX))
        else:
            await _tidy_job(services, work_id, now=now)


async def _tidy_job(services: Services, job_id: str, *, now: int) -> None:
    try:
        job = (await services.store.jobs.get(job_id)).job
    except JobNotFound:
        return  # another database's: not ours to delete
    if is_done_with(job, now=now):
        await services.blobs.delete_work_dir(job_id)


async def _tidy_batch(services: Services, batch_id: str) -> None:
    try:
        batch = (await services.store.batches.get(batch_id)).batch
    except BatchNotFound:
        return  # another database's: not ours to delete
    if is_over(batch.status):
        await services.blobs.delete_work_dir(batch_id)


async def _tidy_report(services: Services, job_id: str) -> None:
    try:
        job = (await services.store.jobs.get(job_id)).job
    except JobNotFound:
        return  # another database's: not ours to delete
    if not is_open(job.report):
        await forget_answers(services.blobs, job_id)


def is_done_with(job: Job, *, now: int) -> bool:
    """Whether a job's work directory can go: resume points, unpublished adapters, the trainer's log."""
    if not is_terminal(job.status) or job.finished_at is None:
        return False
    kept = _FAILURES_KEPT if job.status == "failed" else _SETTLED_AFTER
    return now - job.finished_at > kept
