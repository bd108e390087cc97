"""Which status of a batch may follow which. Pure: no clock, no store.

validating → in_progress → finalizing → completed
    │  │         │   └→ expired
    │  └→ expired└→ cancelling → cancelled   (also from validating)
    └→ failed
"""

from typing import Final

from schemas.batches import Batch, BatchStatus
from schemas.errors import Conflict

NEXT: Final[dict[BatchStatus, frozenset[BatchStatus]]] = {
    "validating": frozenset({"in_progress", "failed", "expired", "cancelling"}),
    "in_progress": frozenset({"finalizing", "expired", "cancelling"}),
    "finalizing": frozenset({"completed"}),
    "cancelling": frozenset({"cancelled"}),
    "completed": frozenset(),
    "failed": frozenset(),
    "expired": frozenset(),
    "cancelled": frozenset(),
}


def is_over(status: BatchStatus) -> bool:
    """Whether a batch in this status is over."""
    return not NEXT[status]


def advance(batch: Batch, status: BatchStatus, *, now: int) -> Batch:
    """Return `batch` in its new status, with the time at which it came there.

    Args:
        batch: As it is.
        status: As it shall be.
        now: Unix seconds.

    Raises:
        Conflict: `status` may not follow the batch's present one.
    """
    if status not in NEXT[batch.status]:
        raise Conflict(f"A batch with status '{batch.status}' cannot become '{status}'.")
    return batch.model_copy(update={"status": status, f"{status}_at": now})
