"""What makes it safe to ask again: one request makes one thing, however often it is sent."""

from typing import Final

from jobs.services import Services
from jobs.store.idempotency import Answer, Attempt
from schemas.fine_tuning import Job

_HOLD: Final = 20.0
"""Seconds after which a request that never ended was killed. A longer one stays safe: a job's record
and its answer are one transaction, and two cannot complete one upload."""


async def begin(services: Services, attempt: Attempt, *, holder: str) -> Answer | None:
    """Return what a request with this idempotency key was answered, or None: it is the first.

    Raises:
        IdempotencyKeyReused: The key was used for another request.
        StillAtWork: The same request is being worked on.
    """
    return await services.store.idempotency.begin(attempt, holder=holder, hold=_HOLD)


async def end(services: Services, attempt: Attempt, *, holder: str, answer: Answer | None) -> None:
    """Keep an answer; without one the key is free again."""
    if answer is None:
        await services.store.idempotency.release(attempt, holder=holder)
    else:
        await services.store.idempotency.finish(attempt, answer)


async def job_of_earlier_try(services: Services, attempt: Attempt) -> Job | None:
    """Return the job that an SDK's earlier try of the same request made, as it is now."""
    if attempt.retry_count == 0:
        return None
    job_id = await services.store.idempotency.find_job(attempt)
    if job_id is None:
        return None
    return (await services.store.jobs.get(job_id, project_id=attempt.project_id)).job
