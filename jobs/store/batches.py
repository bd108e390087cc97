"""Records of batches. Every write of a worker's carries its fence."""

import time
from collections.abc import Callable, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Row, Select, and_, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.batch_lifecycle import NEXT, is_over
from jobs.store.database import Database
from jobs.store.files import add_file
from jobs.store.outbox import add_event
from jobs.store.paging import cursor_page, page
from jobs.store.records import Fenced, FileRecord
from jobs.store.tables import batches
from schemas.base import CursorPage, Schema
from schemas.batches import Batch, BatchStatus
from schemas.errors import BatchNotFound
from schemas.files import File
from schemas.webhooks import EventType

_ENDS: Final[dict[BatchStatus, EventType]] = {
    "completed": "batch.completed",
    "failed": "batch.failed",
    "expired": "batch.expired",
    "cancelled": "batch.cancelled",
}
"""What is told to webhooks of a batch that is over."""
_UNFINISHED: Final = [status for status in NEXT if not is_over(status)]


class BatchPlan(Schema):
    """What a batch was told at its creation and the wire does not show."""

    key_id: str
    """Who created it, and so which models its requests may ask, for as long as the key works."""
    output_seconds: int | None = None
    """How long its files are kept; None: until they are deleted."""
    base: str = ""
    """Whose engine is asked; known once the input file is validated."""


class BatchRecord(Schema):
    """A batch, whose it is, and who works on it."""

    batch: Batch
    project_id: str
    plan: BatchPlan
    attempt: int = 0
    """The fence. A worker may write only while this is the number of its own claim."""
    owner: str | None = None
    lease_until: float = 0.0
    next_run_at: float = 0.0
    infra_failures: int = 0


class BatchOutcome(Schema):
    """What is written together with a change of a batch: all of it or none."""

    record: BatchRecord
    files: Sequence[tuple[File, FileRecord]] = ()
    """Its bytes are safe already."""


BatchChange = Callable[[BatchRecord], BatchOutcome]


class BatchRecords:
    """Batches, and the files that each ends with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, record: BatchRecord) -> None:
        """Record a new batch."""
        async with self._database.write() as connection:
            await connection.execute(insert(batches).values(**_columns(record)))

    async def get(self, batch_id: str, *, project_id: str | None = None) -> BatchRecord:
        """Return a batch; with `project_id` only where it is the project's.

        Raises:
            BatchNotFound: There is none.
        """
        async with self._database.read() as connection:
            row = (await connection.execute(_one(batch_id, project_id))).one_or_none()
        if row is None:
            raise BatchNotFound(batch_id)
        return _record(row)

    async def count_unfinished(self) -> int:
        """Return how many batches of all projects are not over."""
        query = select(func.count()).where(batches.c.status.in_(_UNFINISHED))
        async with self._database.read() as connection:
            return await connection.scalar(query) or 0

    async def page(self, *, project_id: str, limit: int, after: str | None) -> CursorPage[Batch]:
        """Return one page of the project's batches, newest first.

        Raises:
            InvalidRequest: `after` is no batch of the project's.
        """
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                select(batches),
                table=batches,
                owned=batches.c.project_id == project_id,
                limit=limit,
                after=after,
            )
        data = [_record(row).batch for row in rows]
        return cursor_page(data, has_more=has_more)

    async def change(
        self,
        batch_id: str,
        change: BatchChange,
        *,
        attempt: int | None = None,
        project_id: str | None = None,
    ) -> BatchRecord:
        """Read a batch, let `change` decide, and write all of its outcome, atomically.

        Args:
            batch_id: Which.
            change: Pure; may be called again. Whatever it raises leaves everything as it was.
            attempt: The caller's fence; None for what users do.
            project_id: Whose it must be.

        Raises:
            BatchNotFound: There is none.
            Fenced: The batch is not, or no longer, the caller's.
        """
        async with self._database.write() as connection:
            query = _one(batch_id, project_id).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise BatchNotFound(batch_id)
            record = _record(row)
            if attempt is not None and (record.attempt != attempt or record.owner is None):
                raise Fenced(batch_id)
            outcome = change(record)
            await _write(connection, outcome.record)
            for file, file_record in outcome.files:
                await add_file(connection, file, file_record)
            await _tell_of_end(connection, record, outcome.record)
        return outcome.record

    async def claimable(self, *, now: float, limit: int) -> list[str]:
        """Return batches that wait for a worker, oldest first: new ones, and those whose worker fell silent."""
        async with self._database.read() as connection:
            ids = await connection.scalars(
                select(batches.c.id).where(_claimable(now)).order_by(batches.c.seq).limit(limit)
            )
            return list(ids)

    async def claim(
        self, batch_id: str, *, owner: str, now: float, lease: float
    ) -> BatchRecord | None:
        """Take a batch for `owner`, or return None where it is not to be had.

        Args:
            batch_id: Which.
            owner: The worker.
            now: Unix seconds.
            lease: For how many seconds nobody else may take it.
        """
        async with self._database.write() as connection:
            query = select(batches).where(batches.c.id == batch_id, _claimable(now))
            row = (await connection.execute(query.with_for_update())).one_or_none()
            if row is None:
                return None
            found = _record(row)
            taken = found.model_copy(
                update={"attempt": found.attempt + 1, "owner": owner, "lease_until": now + lease}
            )
            await _write(connection, taken)
        return taken

    async def held(self) -> list[BatchRecord]:
        """Return the batches that some worker holds."""
        # The status for its index: workers ask this each second, and batches that are over are never deleted.
        held = and_(batches.c.status.in_(_UNFINISHED), batches.c.owner.is_not(None))
        async with self._database.read() as connection:
            rows = await connection.execute(select(batches).where(held))
            return [_record(row) for row in rows]

    async def renew(self, batch_id: str, *, attempt: int, lease_until: float) -> bool:
        """Hold on to a batch; False where it is the caller's no longer, or over."""
        async with self._database.write() as connection:
            done = await connection.execute(
                update(batches).where(_held_by(batch_id, attempt)).values(lease_until=lease_until)
            )
        return done.rowcount == 1

    async def is_mine(self, batch_id: str, *, attempt: int) -> bool:
        """Whether the claim `attempt` still holds; a cheap look, no write."""
        async with self._database.read() as connection:
            query = select(batches.c.seq).where(_held_by(batch_id, attempt))
            return await connection.scalar(query) is not None

    async def expire_lease(self, batch_id: str, *, attempt: int) -> None:
        """Let others take a batch whose worker is known to be dead."""
        async with self._database.write() as connection:
            mine = and_(batches.c.id == batch_id, batches.c.attempt == attempt)
            await connection.execute(update(batches).where(mine).values(lease_until=0.0))


def _one(batch_id: str, project_id: str | None) -> Select[tuple[object, ...]]:
    query = select(batches).where(batches.c.id == batch_id)
    return query if project_id is None else query.where(batches.c.project_id == project_id)


def _claimable(now: float) -> ColumnElement[bool]:
    free = or_(batches.c.owner.is_(None), batches.c.lease_until < now)
    return and_(batches.c.status.in_(_UNFINISHED), free, batches.c.next_run_at <= now)


def _held_by(batch_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(
        batches.c.id == batch_id, batches.c.attempt == attempt, batches.c.owner.is_not(None)
    )


async def _write(connection: AsyncConnection, record: BatchRecord) -> None:
    mine = batches.c.id == record.batch.id
    await connection.execute(update(batches).where(mine).values(**_columns(record)))


async def _tell_of_end(
    connection: AsyncConnection, before: BatchRecord, after: BatchRecord
) -> None:
    if is_over(before.batch.status) or not is_over(after.batch.status):
        return
    await add_event(
        connection,
        project_id=after.project_id,
        type=_ENDS[after.batch.status],
        object_id=after.batch.id,
        now=int(time.time()),
    )


def _columns(record: BatchRecord) -> dict[str, object]:
    return {
        "id": record.batch.id,
        "project_id": record.project_id,
        "status": record.batch.status,
        "batch": record.batch.model_dump_json(),
        "plan": record.plan.model_dump_json(),
        "attempt": record.attempt,
        "owner": record.owner,
        "lease_until": record.lease_until,
        "next_run_at": record.next_run_at,
        "infra_failures": record.infra_failures,
    }


def _record(row: Row[tuple[object, ...]]) -> BatchRecord:
    return BatchRecord(
        batch=Batch.model_validate_json(row.batch),
        project_id=row.project_id,
        plan=BatchPlan.model_validate_json(row.plan),
        attempt=row.attempt,
        owner=row.owner,
        lease_until=row.lease_until,
        next_run_at=row.next_run_at,
        infra_failures=row.infra_failures,
    )
