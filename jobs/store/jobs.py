"""Records of jobs, their events and checkpoints. Every write of a worker's carries its fence."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    func,
    insert,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.lifecycle import UNFINISHED, is_terminal
from jobs.store.database import Database
from jobs.store.files import add_file
from jobs.store.idempotency import Attempt, first_job
from jobs.store.job_filter import ALL_JOBS, JobFilter
from jobs.store.limits import ensure_room_for_job
from jobs.store.outbox import add_event
from jobs.store.paging import cursor_page, page
from jobs.store.pairs import member_text
from jobs.store.records import Fenced, FileRecord, JobRecord, ModelRecord, Plan
from jobs.store.tables import checkpoints, job_events, jobs, models
from jobs.store.usage import add_used
from schemas.base import CursorPage, Page, Schema
from schemas.errors import JobNotFound
from schemas.files import File
from schemas.fine_tuning import Checkpoint, Event, EventKind, EventLevel, Job, JobStatus
from schemas.usage import Used, UsedBy
from schemas.webhooks import EventType


class NewEvent(Schema):
    """An event, and what keeps it from being told twice."""

    dedupe_key: str
    event: Event


class Outcome(Schema):
    """What is written together with a change of a job: all of it or none."""

    record: JobRecord
    events: Sequence[NewEvent] = ()
    checkpoint: Checkpoint | None = None
    model: ModelRecord | None = None
    files: Sequence[tuple[File, FileRecord]] = ()
    """Their bytes are safe already."""
    used: Mapping[UsedBy, Used] = {}


Change = Callable[[JobRecord], Outcome]
Hold = Literal["held", "pausing", "lost"]
"""Of a claim: ours; ours, and the user wants a pause; ours no longer."""

_ENDS: Final[dict[JobStatus, EventType]] = {
    "succeeded": "fine_tuning.job.succeeded",
    "failed": "fine_tuning.job.failed",
    "cancelled": "fine_tuning.job.cancelled",
}
"""What is told to webhooks of a job that is over."""


class JobRecords:
    """Jobs and everything that hangs on one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, record: JobRecord, events: Sequence[NewEvent], *, attempt: Attempt | None = None
    ) -> Job:
        """Record a new job and its first events, in one transaction.

        Args:
            record: The job.
            events: Its first.
            attempt: Which try of the client's this is; None: nothing can repeat it.

        Returns:
            The job; or the one that another try of the same request made, and nothing is recorded.

        Raises:
            LimitReached: Its project may not have as many.
        """
        async with self._database.write() as connection:
            if attempt is not None:
                job_id = await first_job(connection, attempt, record.job)
                if job_id != record.job.id:
                    return _record((await connection.execute(_one(job_id, None))).one()).job
            await ensure_room_for_job(connection, record.project_id, record.job)
            await connection.execute(insert(jobs).values(**_columns(record)))
            await _add_events(connection, record.job.id, events)
        return record.job

    async def get(self, job_id: str, *, project_id: str | None = None) -> JobRecord:
        """Return a job; with `project_id` only where it is the project's.

        Raises:
            JobNotFound: There is none.
        """
        async with self._database.read() as connection:
            row = (await connection.execute(_one(job_id, project_id))).one_or_none()
        if row is None:
            raise JobNotFound(job_id)
        return _record(row)

    async def change(
        self,
        job_id: str,
        change: Change,
        *,
        attempt: int | None = None,
        project_id: str | None = None,
    ) -> JobRecord:
        """Read a job, let `change` decide, and write all of its outcome, atomically.

        Args:
            job_id: Which.
            change: Pure; may be called again. Whatever it raises leaves everything as it was.
            attempt: The caller's fence; None for what users do.
            project_id: Whose it must be.

        Raises:
            JobNotFound: There is none.
            Fenced: The job is not, or no longer, the caller's.
        """
        async with self._database.write() as connection:
            query = _one(job_id, project_id).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise JobNotFound(job_id)
            record = _record(row)
            if attempt is not None and (record.attempt != attempt or record.owner is None):
                raise Fenced(job_id)
            outcome = change(record)
            await connection.execute(
                update(jobs).where(jobs.c.id == job_id).values(**_columns(outcome.record))
            )
            await _add_events(connection, job_id, outcome.events)
            await _tell_of_end(connection, record, outcome.record)
            if outcome.checkpoint is not None:
                await _add_checkpoint(connection, job_id, outcome.checkpoint)
            if outcome.model is not None:
                await connection.execute(insert(models).values(**outcome.model.model_dump()))
            for file, file_record in outcome.files:
                await add_file(connection, file, file_record)
            await add_used(connection, outcome.used)
        return outcome.record

    async def claimable(self, *, validating: bool, now: float, limit: int = 50) -> list[JobRecord]:
        """Return jobs that wait for a worker, oldest first: new ones, and those whose worker fell silent."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(jobs).where(_claimable(validating, now)).order_by(jobs.c.seq).limit(limit)
            )
            return [_record(row) for row in rows]

    async def reports_due(self, *, now: float, limit: int) -> list[str]:
        """Return the jobs whose report waits for a worker, oldest first."""
        query = select(jobs.c.id).where(_report_is_due(now)).order_by(jobs.c.seq).limit(limit)
        async with self._database.read() as connection:
            return list(await connection.scalars(query))

    async def held(self) -> list[JobRecord]:
        """Return the jobs that some worker holds."""
        # Statuses for their indexes: workers ask this each second, and jobs that are over are never deleted.
        is_worked_on = or_(jobs.c.status.in_(UNFINISHED), jobs.c.report_status == "running")
        held = and_(is_worked_on, jobs.c.owner.is_not(None))
        async with self._database.read() as connection:
            rows = await connection.execute(select(jobs).where(held))
            return [_record(row) for row in rows]

    async def claim(
        self, job_id: str, change: Change, *, owner: str, validating: bool, now: float, lease: float
    ) -> JobRecord | None:
        """Take a job for `owner` and apply `change`, or return None where it is not to be had.

        Args:
            job_id: Which.
            change: Applied to the claimed record, in the same transaction.
            owner: The worker.
            validating: Whether to take it for validation, else for training.
            now: Unix seconds.
            lease: For how many seconds nobody else may take it.
        """
        claimable = _claimable(validating, now)
        return await self._claim(job_id, claimable, change, owner=owner, lease_until=now + lease)

    async def claim_report(
        self, job_id: str, change: Change, *, owner: str, now: float, lease: float
    ) -> JobRecord | None:
        """Take a job that is over for `owner`, to make its report; see `claim`."""
        due = _report_is_due(now)
        return await self._claim(job_id, due, change, owner=owner, lease_until=now + lease)

    async def _claim(
        self,
        job_id: str,
        claimable: ColumnElement[bool],
        change: Change,
        *,
        owner: str,
        lease_until: float,
    ) -> JobRecord | None:
        async with self._database.write() as connection:
            query = select(jobs).where(jobs.c.id == job_id, claimable)
            row = (await connection.execute(query.with_for_update())).one_or_none()
            if row is None:
                return None
            record = _record(row)
            taken = record.model_copy(
                update={"attempt": record.attempt + 1, "owner": owner, "lease_until": lease_until}
            )
            outcome = change(taken)
            await connection.execute(
                update(jobs).where(jobs.c.id == job_id).values(**_columns(outcome.record))
            )
            await _add_events(connection, job_id, outcome.events)
            await _tell_of_end(connection, record, outcome.record)
        return outcome.record

    async def renew(self, job_id: str, *, attempt: int, lease_until: float) -> bool:
        """Hold on to a job; False where it is the caller's no longer, or over."""
        async with self._database.write() as connection:
            mine = and_(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.owner.is_not(None))
            done = await connection.execute(
                update(jobs).where(mine).values(lease_until=lease_until)
            )
        return done.rowcount == 1

    async def hold(self, job_id: str, *, attempt: int) -> Hold:
        """Return what has become of the claim `attempt`; a cheap look, no write."""
        async with self._database.read() as connection:
            mine = and_(jobs.c.id == job_id, jobs.c.attempt == attempt, jobs.c.owner.is_not(None))
            is_pausing = await connection.scalar(select(jobs.c.is_pausing).where(mine))
        if is_pausing is None:
            return "lost"
        return "pausing" if is_pausing else "held"

    async def pausing_alone(self, *, now: float) -> list[str]:
        """Return the ids of jobs that shall pause and that nobody works on: their workers died."""
        free = or_(jobs.c.owner.is_(None), jobs.c.lease_until < now)
        waiting = and_(jobs.c.status.in_(("queued", "running")), jobs.c.is_pausing, free)
        async with self._database.read() as connection:
            return list(await connection.scalars(select(jobs.c.id).where(waiting)))

    async def expire_lease(self, job_id: str, *, attempt: int) -> None:
        """Let others take a job whose worker is known to be dead."""
        async with self._database.write() as connection:
            mine = and_(jobs.c.id == job_id, jobs.c.attempt == attempt)
            await connection.execute(update(jobs).where(mine).values(lease_until=0.0))

    async def page(
        self,
        *,
        project_id: str,
        limit: int,
        after: str | None = None,
        wanted: JobFilter = ALL_JOBS,
    ) -> Page[Job]:
        """Return one page of the project's jobs, newest first.

        Args:
            project_id: Whose.
            limit: At least 0, which only asks whether there is any.
            after: A job's id.
            wanted: Which of them.

        Raises:
            InvalidRequest: `after` is no job of the project's.
        """
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                select(jobs).where(*wanted.conditions(connection)),
                table=jobs,
                owned=jobs.c.project_id == project_id,
                limit=limit,
                after=after,
            )
        return Page(data=[_record(row).job for row in rows], has_more=has_more)

    async def counts(self, *, project_id: str, wanted: JobFilter) -> dict[JobStatus, int]:
        """Return how many of the project's jobs there are, by status; a status without any is left out."""
        query = select(jobs.c.status, func.count().label("jobs")).group_by(jobs.c.status)
        async with self._database.read() as connection:
            owned = (jobs.c.project_id == project_id, *wanted.conditions(connection))
            return {row.status: row.jobs for row in await connection.execute(query.where(*owned))}

    async def unfinished(self) -> dict[JobStatus, int]:
        """Return how many jobs of all projects are not over, by status; a status without any is left out."""
        query = (
            select(jobs.c.status, func.count().label("jobs"))
            .where(jobs.c.status.in_(UNFINISHED))
            .group_by(jobs.c.status)
        )
        async with self._database.read() as connection:
            return {row.status: row.jobs for row in await connection.execute(query)}

    async def waiting_before(self, job_id: str) -> int:
        """Return how many jobs of all projects a worker takes first: those that wait for longer."""
        seq = select(jobs.c.seq).where(jobs.c.id == job_id).scalar_subquery()
        waiting = and_(jobs.c.status == "queued", jobs.c.is_pausing.is_(False), jobs.c.seq < seq)
        async with self._database.read() as connection:
            return await connection.scalar(select(func.count()).where(waiting)) or 0

    async def events(
        self,
        job_id: str,
        *,
        limit: int,
        after: str | None = None,
        type: EventKind | None = None,
        levels: Sequence[EventLevel] | None = None,
    ) -> Page[Event]:
        """Return one page of a job's events, newest first.

        Args:
            job_id: Which.
            limit: At least 0.
            after: An event's id.
            type: Only events of it.
            levels: Only events of these.

        Raises:
            InvalidRequest: `after` is no event of the job's.
        """
        async with self._database.read() as connection:
            query = select(job_events)
            if type is not None:
                is_step = job_events.c.dedupe_key.like("step-%")
                query = query.where(is_step if type == "metrics" else not_(is_step))
            if levels is not None:
                level = member_text(connection, job_events.c.event, "level")
                query = query.where(level.in_(levels))
            rows, has_more = await page(
                connection,
                query,
                table=job_events,
                owned=job_events.c.job_id == job_id,
                limit=limit,
                after=after,
            )
        data = [Event.model_validate_json(row.event) for row in rows]
        return Page(data=data, has_more=has_more)

    async def first_told(self, job_id: str, dedupe_key: str) -> Event | None:
        """Return what happens once in a job's life, where it has happened."""
        query = select(job_events.c.event).where(
            job_events.c.job_id == job_id, job_events.c.dedupe_key == dedupe_key
        )
        async with self._database.read() as connection:
            event = await connection.scalar(query)
        return None if event is None else Event.model_validate_json(event)

    async def metrics(self, job_id: str) -> list[Event]:
        """Return all of a job's metrics events, in the order of their steps."""
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(job_events.c.event)
                .where(job_events.c.job_id == job_id, job_events.c.dedupe_key.like("step-%"))
                .order_by(job_events.c.seq)
            )
            events = [Event.model_validate_json(row.event) for row in rows]
        return sorted(events, key=lambda event: int(event.data["step"]))

    async def measured(self, base: str, *, limit: int = 5) -> list[Event]:
        """Return what the last good jobs on a base told of their speed and memory, newest first."""
        query = (
            select(job_events.c.event)
            .join(jobs, jobs.c.id == job_events.c.job_id)
            .where(
                jobs.c.base == base,
                jobs.c.status == "succeeded",
                job_events.c.dedupe_key == "trained",
            )
            .order_by(jobs.c.seq.desc())
            .limit(limit)
        )
        async with self._database.read() as connection:
            return [Event.model_validate_json(row.event) for row in await connection.execute(query)]

    async def newest_base(self) -> str | None:
        """Return the base of the last job that was made; None where there is none."""
        query = select(jobs.c.base).order_by(jobs.c.seq.desc()).limit(1)
        async with self._database.read() as connection:
            base: str | None = await connection.scalar(query)
        return base

    async def active(self, *, project_id: str) -> dict[str, int]:
        """Return how many of a project's jobs wait or run, by base."""
        statuses = ("validating_files", "queued", "running")
        query = (
            select(jobs.c.base, func.count().label("jobs"))
            .where(jobs.c.project_id == project_id, jobs.c.status.in_(statuses))
            .group_by(jobs.c.base)
        )
        async with self._database.read() as connection:
            return {row.base: row.jobs for row in await connection.execute(query)}

    async def last_step(self, job_id: str) -> int:
        """Return the last step that is recorded; 0: none."""
        async with self._database.read() as connection:
            newest = await connection.scalar(
                select(job_events.c.event)
                .where(job_events.c.job_id == job_id, job_events.c.dedupe_key.like("step-%"))
                .order_by(job_events.c.seq.desc())
                .limit(1)
            )
        return 0 if newest is None else int(Event.model_validate_json(newest).data["step"])

    async def checkpoints(
        self, job_id: str, *, limit: int, after: str | None
    ) -> CursorPage[Checkpoint]:
        """Return one page of a job's checkpoints, newest first.

        Raises:
            InvalidRequest: `after` is no checkpoint of the job's.
        """
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                select(checkpoints),
                table=checkpoints,
                owned=checkpoints.c.job_id == job_id,
                limit=limit,
                after=after,
            )
        data = [Checkpoint.model_validate_json(row.checkpoint) for row in rows]
        return cursor_page(data, has_more=has_more)

    async def has_checkpoint(self, job_id: str, *, step: int) -> bool:
        """Whether a checkpoint of that step is recorded."""
        async with self._database.read() as connection:
            query = select(checkpoints.c.seq).where(
                checkpoints.c.job_id == job_id, checkpoints.c.step == step
            )
            return await connection.scalar(query) is not None


def _one(job_id: str, project_id: str | None) -> Select[tuple[object, ...]]:
    query = select(jobs).where(jobs.c.id == job_id)
    return query if project_id is None else query.where(jobs.c.project_id == project_id)


def _claimable(validating: bool, now: float) -> ColumnElement[bool]:
    free = or_(jobs.c.owner.is_(None), jobs.c.lease_until < now)
    statuses = ("validating_files",) if validating else ("queued", "running")
    waits = and_(jobs.c.status.in_(statuses), free, jobs.c.next_run_at <= now)
    return waits if validating else and_(waits, jobs.c.is_pausing.is_(False))


def _report_is_due(now: float) -> ColumnElement[bool]:
    free = or_(jobs.c.owner.is_(None), jobs.c.lease_until < now)
    is_open = jobs.c.report_status.in_(("pending", "running"))
    return and_(is_open, free, jobs.c.next_run_at <= now)


async def _add_events(connection: AsyncConnection, job_id: str, events: Sequence[NewEvent]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for new in events:
        # What was told before a crash is not told again after it.
        await connection.execute(
            dialect.insert(job_events)
            .values(
                id=new.event.id,
                job_id=job_id,
                dedupe_key=new.dedupe_key,
                created_at=new.event.created_at,
                event=new.event.model_dump_json(),
            )
            .on_conflict_do_nothing(index_elements=["job_id", "dedupe_key"])
        )


async def _tell_of_end(connection: AsyncConnection, before: JobRecord, after: JobRecord) -> None:
    if is_terminal(before.job.status) or not is_terminal(after.job.status):
        return
    await add_event(
        connection,
        project_id=after.project_id,
        type=_ENDS[after.job.status],
        object_id=after.job.id,
        now=int(time.time()),
    )


async def _add_checkpoint(connection: AsyncConnection, job_id: str, checkpoint: Checkpoint) -> None:
    await connection.execute(
        delete(checkpoints).where(
            checkpoints.c.job_id == job_id, checkpoints.c.step == checkpoint.step_number
        )
    )
    await connection.execute(
        insert(checkpoints).values(
            id=checkpoint.id,
            job_id=job_id,
            step=checkpoint.step_number,
            checkpoint=checkpoint.model_dump_json(),
        )
    )


def _columns(record: JobRecord) -> dict[str, object]:
    return {
        "id": record.job.id,
        "project_id": record.project_id,
        "status": record.job.status,
        "base": record.base,
        "job": record.job.model_dump_json(),
        "plan": record.plan.model_dump_json(),
        "attempt": record.attempt,
        "owner": record.owner,
        "lease_until": record.lease_until,
        "next_run_at": record.next_run_at,
        "infra_failures": record.infra_failures,
        "is_pausing": record.is_pausing,
        "report_status": record.job.report and record.job.report.status,
    }


def _record(row: Row[tuple[object, ...]]) -> JobRecord:
    return JobRecord(
        job=Job.model_validate_json(row.job),
        project_id=row.project_id,
        base=row.base,
        plan=Plan.model_validate_json(row.plan),
        attempt=row.attempt,
        owner=row.owner,
        lease_until=row.lease_until,
        next_run_at=row.next_run_at,
        infra_failures=row.infra_failures,
        is_pausing=row.is_pausing,
    )
