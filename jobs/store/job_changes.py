"""Whether anything about jobs has changed: cheap to ask each second, for pages that stay up to date."""

import hashlib

from sqlalchemy import func, select

from jobs.lifecycle import UNFINISHED
from jobs.store.database import Database
from jobs.store.tables import job_events, jobs

_newest_event = (
    select(job_events.c.seq)
    .where(job_events.c.job_id == jobs.c.id)
    .order_by(job_events.c.seq.desc())
    .limit(1)
    .scalar_subquery()
)


class JobChanges:
    """Tells states apart; what they are is for others to read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_project(self, project_id: str) -> str:
        """Return a token that changes with the project's jobs: a new one, another status, another event."""
        owned = jobs.c.project_id == project_id
        by_status = (
            select(jobs.c.status, func.count(), func.max(jobs.c.seq))
            .where(owned)
            .group_by(jobs.c.status)
            .order_by(jobs.c.status)
        )
        at_work = (
            select(jobs.c.seq, jobs.c.is_pausing, _newest_event)
            .where(owned, jobs.c.status.in_(UNFINISHED))
            .order_by(jobs.c.seq)
        )
        async with self._database.read() as connection:
            counted = (await connection.execute(by_status)).all()
            told = (await connection.execute(at_work)).all()
        return _token(*counted, *told)

    async def of_job(self, job_id: str, *, project_id: str) -> str:
        """Return a token that changes with a job and its events; the same for any job that there is not."""
        query = select(jobs.c.job, jobs.c.is_pausing, _newest_event).where(
            jobs.c.id == job_id, jobs.c.project_id == project_id
        )
        async with self._database.read() as connection:
            return _token(*(await connection.execute(query)).all())


def _token(*rows: object) -> str:
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]
