"""What a report's way makes of its job's record. Pure: `now` comes from the caller.

pending → running → done
   ↑         ├→ skipped: there is nothing to compare
   ├─────────┤  (its worker left or died, or something failed that may pass)
             └→ failed, after too many of these
The job itself stays `succeeded`, and tells no event of any of this: its last is the one that OpenAI's clients wait for.
"""

from typing import Final

from jobs.store.jobs import Outcome
from jobs.store.records import JobRecord
from schemas.report import JobReport

BEGIN_AFTER: Final = 3.0
"""Seconds from the job's end to its report: whoever waits for the model asks it first."""
MAX_FAILURES: Final = 8
_A_DEATH: Final = 2
"""Failures that the death of a worker counts for: what was trained beside the report died with it."""
_BACKOFF: Final = 5.0
_MAX_BACKOFF: Final = 300.0
_DIED: Final = "The worker that made it was killed, perhaps because memory ran out."


def is_open(report: JobReport | None) -> bool:
    """Whether a report is still to be made."""
    return report is not None and report.status in {"pending", "running"}


def awaited(record: JobRecord, *, n_examples: int, now: float) -> JobRecord:
    """Return a job that has just succeeded as one whose report is to be made.

    Args:
        record: Of the job.
        n_examples: As the settings say; 0: no report is made.
        now: Unix seconds.
    """
    if n_examples == 0:
        reason = "The server's operator has turned reports off (RETUNE_REPORT_EXAMPLES=0)."
        return _with_report(record, JobReport(status="skipped", reason=reason))
    waiting = record.model_copy(update={"infra_failures": 0, "next_run_at": now + BEGIN_AFTER})
    return _with_report(waiting, JobReport(status="pending"))


def begun(record: JobRecord, *, now: float) -> Outcome:
    """A worker has it, unless it has cost too many workers their lives, or another one just now.

    Args:
        record: Of the job, claimed.
        now: Unix seconds.
    """
    report = record.job.report
    if report is not None and report.status == "running":  # whoever had it said nothing more
        record = record.model_copy(update={"infra_failures": record.infra_failures + _A_DEATH})
        # The first may have been killed by hand, and goes on at once; a report that kills has to wait.
        if record.infra_failures > _A_DEATH:
            return _waiting(record, reason=_DIED, now=now)
    return Outcome(record=_with_report(record, JobReport(status="running")))


def given_back(record: JobRecord) -> Outcome:
    """Let another worker make it."""
    return Outcome(record=_released(_with_report(record, JobReport(status="pending"))))


def ended(record: JobRecord, report: JobReport) -> JobRecord:
    """Return the job with its last word on the report; nobody works on it any more."""
    return _released(_with_report(record, report))


def again(record: JobRecord, *, reason: str, now: float) -> Outcome:
    """Try again later, or give up after too many times."""
    failed = record.model_copy(update={"infra_failures": record.infra_failures + 1})
    return _waiting(failed, reason=reason, now=now)


def _waiting(record: JobRecord, *, reason: str, now: float) -> Outcome:
    if record.infra_failures >= MAX_FAILURES:
        told = f"{reason} It was given up after too many failures; the job and its model are as they were."
        return Outcome(record=ended(record, JobReport(status="failed", reason=told)))
    pause = min(_MAX_BACKOFF, _BACKOFF * 2 ** (record.infra_failures - 1))
    waiting = _with_report(record, JobReport(status="pending", reason=reason))
    return Outcome(record=_released(waiting).model_copy(update={"next_run_at": now + pause}))


def _with_report(record: JobRecord, report: JobReport) -> JobRecord:
    job = record.job.model_copy(update={"report": report})
    return record.model_copy(update={"job": job})


def _released(record: JobRecord) -> JobRecord:
    return record.model_copy(update={"owner": None, "lease_until": 0.0})
