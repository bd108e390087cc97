"""Which status may follow which. Pure: no clock, no store.

validating_files → queued → running → succeeded
       │              │        ├→ failed
       ├→ failed      │        │
       └──────────────┴────────┴→ paused → queued
cancelled: from every status that is not an end
"""

from typing import Final

from schemas.errors import InvalidRequest
from schemas.fine_tuning import Job, JobStatus

NEXT: Final[dict[JobStatus, frozenset[JobStatus]]] = {
    "validating_files": frozenset({"queued", "paused", "failed", "cancelled"}),
    "queued": frozenset({"running", "paused", "failed", "cancelled"}),
    "running": frozenset({"succeeded", "paused", "failed", "cancelled"}),
    "paused": frozenset({"queued", "cancelled"}),
    "succeeded": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
}

UNFINISHED: Final[frozenset[JobStatus]] = frozenset(status for status in NEXT if NEXT[status])


def is_terminal(status: JobStatus) -> bool:
    """Whether a job in this status is over."""
    return not NEXT[status]


def advance(job: Job, status: JobStatus, *, now: int) -> Job:
    """Return `job` in its new status; an end sets `finished_at`, and it or a pause takes back the estimate.

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
    if is_terminal(status):
        job = job.model_copy(update={"finished_at": now})
    if is_terminal(status) or status == "paused":
        job = job.model_copy(update={"estimated_finish": None})
    return job.model_copy(update={"status": status})
