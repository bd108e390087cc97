"""What pausing and resuming make of a job's record. Pure: `now` comes from the caller.

A pause is asked for first (`is_pausing`), and is there once nobody works on the job: its worker lets the
trainer save a resume point and go. A worker that is dead, or a Redis that is down, loses no wish:
it is in the record, where whoever holds or sweeps the job next finds it.
"""

from typing import Final

from jobs import events
from jobs.lifecycle import advance
from jobs.store.jobs import Outcome
from jobs.store.records import JobRecord
from schemas.errors import InvalidRequest
from schemas.fine_tuning import JobStatus

_PAUSABLE: Final[frozenset[JobStatus]] = frozenset({"validating_files", "queued", "running"})


def ask_to_pause(record: JobRecord, *, now: float) -> Outcome:
    """Write down that a job shall pause; it is paused at once where nobody works on it.

    Files are still looked at: that costs no device, and says what is wrong with them. Safe to repeat
    while the pause is on its way.

    Raises:
        InvalidRequest: It is paused already, or over.
    """
    status = record.job.status
    if status not in _PAUSABLE:
        raise InvalidRequest(f"Cannot pause a fine-tuning job with status '{status}'.")
    asked = record.model_copy(update={"is_pausing": True})
    if status != "validating_files" and (record.owner is None or record.lease_until < now):
        return pause(asked, now=now)
    return Outcome(record=asked, events=[] if record.is_pausing else [events.pausing(status)])


def ask_to_resume(record: JobRecord) -> Outcome:
    """Put a paused job back among those that wait, or take back a pause that is on its way.

    Raises:
        InvalidRequest: It is neither paused nor about to be.
    """
    if record.is_pausing and record.job.status in _PAUSABLE:
        withdrawn = record.model_copy(update={"is_pausing": False})
        return Outcome(record=withdrawn, events=[events.resumed()])
    if record.job.status != "paused":
        raise InvalidRequest(f"Cannot resume a fine-tuning job with status '{record.job.status}'.")
    # What broke before the pause counts no longer: a person has looked at the job since.
    waiting = {
        "job": advance(record.job, "queued", now=0),
        "next_run_at": 0.0,
        "infra_failures": 0,
    }
    return Outcome(record=record.model_copy(update=waiting), events=[events.resumed()])


def pause(record: JobRecord, *, now: float) -> Outcome:
    """Pause a job that nobody works on any more: what is on its disk is all that it needs to go on."""
    job = advance(record.job, "paused", now=int(now))
    paused = {"job": job, "is_pausing": False, "owner": None, "lease_until": 0.0}
    return Outcome(record=record.model_copy(update=paused), events=[events.paused()])
