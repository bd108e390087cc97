"""Which status may follow which. Pure: no clock, no store.

validating_files → queued → running → succeeded
       │              │        ├→ failed
       └→ failed      │        └→ paused → queued
cancelled: from every status that is not an end
"""

from typing import Final

from schemas.errors import InvalidRequest
from schemas.fine_tuning import Job, JobStatus

NEXT: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    "validating_files": frozenset({"queued", "failed", "cancelled"}),
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"succeeded", "paused", "failed", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}


def is_terminal(status: JobStatus) -> bool:
    """Whether a job in this status is over."""
    return not NEXT[status]


def advance(job: Job, status: JobStatus, *, now: int) -> Job:
    """Return `job` in its new status; an end sets `finished_at` and takes back the estimate.

    Args:
        job: As it is.
        status: As it shall be.
        now: Unix seconds.

    Raises:
        InvalidRequest: `status` may not follow the job's present one.
    """
    if status not in NEXT[job.status]:
        raise InvalidRequest(
            f"A fine-tuning job with status '{job.status}' cannot become '{status}'."
        )
    if not is_terminal(status):
        return job.model_copy(update={"status": status})
    return job.model_copy(update={"status": status, "finished_at": now, "estimated_finish": None})
