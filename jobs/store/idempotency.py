"""Records of requests that make something, so that the same request makes it once."""

from typing import Final

from sqlalchemy import ColumnElement, Table, and_, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.tables import idempotency, job_requests
from schemas.base import Schema
from schemas.errors import IdempotencyKeyReused, StillAtWork
from schemas.fine_tuning import Job

KEPT_FOR: Final = 24 * 3600
"""Seconds that an answer can be had again."""
RETRIED_WITHIN: Final = 600
"""Seconds after which an SDK has given up."""
_AT_WORK: Final = "A request with this Idempotency-Key is being worked on right now."


class Attempt(Schema):
    """One try of a client's to have something made."""

    project_id: str
    key_id: str
    """Of the API key that asks."""
    idempotency_key: str | None = None
    request_sha256: str
    """Of what is asked for: the operation and the body."""
    retry_count: int = 0
    """As the SDKs count: 0 is the first try."""
    began_at: float
    """Unix seconds."""


class Answer(Schema):
    """What a request was answered: a success, in JSON."""

    status: int
    body: str


class IdempotencyRecords:
    """Who asked with which key, and what was answered."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, attempt: Attempt, *, holder: str, hold: float) -> Answer | None:
        """Take an idempotency key for a request, or return what the same request was answered.

        Args:
            attempt: Has a key.
            holder: Who takes it.
            hold: For how many seconds nobody else may: a holder that was killed never gives it back.

        Raises:
            IdempotencyKeyReused: It was taken for another request.
            StillAtWork: Somebody holds it.
        """
        now = attempt.began_at
        taken = {"holder": holder, "held_until": now + hold}
        async with self._database.write() as connection:
            if await _insert_new(connection, idempotency, _identity(attempt) | taken):
                return None
            query = select(idempotency).where(_one(attempt)).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:  # given back this very moment
                raise StillAtWork(_AT_WORK)
            if row.request_sha256 != attempt.request_sha256:
                raise IdempotencyKeyReused
            if row.status is not None:
                return Answer(status=row.status, body=row.body)
            if row.held_until > now:
                raise StillAtWork(_AT_WORK)
            await connection.execute(update(idempotency).where(_one(attempt)).values(**taken))
        return None

    async def finish(self, attempt: Attempt, answer: Answer) -> None:
        """Keep the first answer to a request; a later one changes nothing."""
        async with self._database.write() as connection:
            values = _identity(attempt) | {"holder": "", "held_until": 0.0}
            await _insert_new(connection, idempotency, values)
            await _answer(connection, attempt, answer)

    async def release(self, attempt: Attempt, *, holder: str) -> None:
        """Give a key back where nothing was made, so that it can be tried again."""
        mine = and_(idempotency.c.holder == holder, idempotency.c.status.is_(None))
        async with self._database.write() as connection:
            await connection.execute(delete(idempotency).where(_one(attempt), mine))

    async def find_job(self, attempt: Attempt) -> str | None:
        """Return the id of the job that an earlier try of an SDK's made, or None."""
        async with self._database.read() as connection:
            query = select(job_requests.c.job_id).where(
                _same_request(attempt), _is_earlier_try(attempt)
            )
            job_id: str | None = await connection.scalar(query)
        return job_id

    async def forget(self, *, now: float) -> None:
        """Delete what is too old to be asked for again."""
        old = now - KEPT_FOR
        async with self._database.write() as connection:
            await connection.execute(delete(idempotency).where(idempotency.c.created_at < old))
            await connection.execute(delete(job_requests).where(job_requests.c.asked_at < old))


async def first_job(connection: AsyncConnection, attempt: Attempt, job: Job) -> str:
    """Return whose turn it is: `job`'s id, or that of the job which the same request made already.

    Within the transaction that records the job, so that one request makes one job: whatever dies
    between commit and response, and however many tries run at once.
    """
    if attempt.idempotency_key is not None:
        return await _first_by_key(connection, attempt, job)
    values = {
        "key_id": attempt.key_id,
        "request_sha256": attempt.request_sha256,
        "job_id": job.id,
        "retry_count": attempt.retry_count,
        "asked_at": attempt.began_at,
    }
    # First the insertion: on Postgres it waits for whoever inserts the same.
    if await _insert_new(connection, job_requests, values):
        return job.id
    query = select(job_requests.c.job_id).where(_same_request(attempt), _is_earlier_try(attempt))
    earlier: str | None = await connection.scalar(query.with_for_update())
    if earlier is not None:
        return earlier
    await connection.execute(update(job_requests).where(_same_request(attempt)).values(**values))
    return job.id


async def _first_by_key(connection: AsyncConnection, attempt: Attempt, job: Job) -> str:
    answer = Answer(status=200, body=job.model_dump_json())
    if await _answer(connection, attempt, answer):
        return job.id
    body = await connection.scalar(select(idempotency.c.body).where(_one(attempt)))
    return job.id if body is None else Job.model_validate_json(body).id


async def _answer(connection: AsyncConnection, attempt: Attempt, answer: Answer) -> bool:
    """Write an answer where there is none yet."""
    is_open = and_(_one(attempt), idempotency.c.status.is_(None))
    written = await connection.execute(
        update(idempotency).where(is_open).values(status=answer.status, body=answer.body)
    )
    return written.rowcount == 1


async def _insert_new(connection: AsyncConnection, table: Table, values: dict[str, object]) -> bool:
    """Insert a row where there is none of its primary key, and tell whether that was so."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    new = dialect.insert(table).values(**values).on_conflict_do_nothing()
    inserted = await connection.execute(new.returning(*table.primary_key))
    return inserted.first() is not None


def _identity(attempt: Attempt) -> dict[str, object]:
    return {
        "project_id": attempt.project_id,
        "key": attempt.idempotency_key,
        "request_sha256": attempt.request_sha256,
        "created_at": attempt.began_at,
    }


def _one(attempt: Attempt) -> ColumnElement[bool]:
    return and_(
        idempotency.c.project_id == attempt.project_id,
        idempotency.c.key == attempt.idempotency_key,
    )


def _same_request(attempt: Attempt) -> ColumnElement[bool]:
    return and_(
        job_requests.c.key_id == attempt.key_id,
        job_requests.c.request_sha256 == attempt.request_sha256,
    )


def _is_earlier_try(attempt: Attempt) -> ColumnElement[bool]:
    """Whether what was recorded is another try of this one, and not a request of its own."""
    # A retry that was faster than the try before it, which is still at work.
    overtook = and_(
        job_requests.c.retry_count > attempt.retry_count,
        job_requests.c.asked_at >= attempt.began_at,
    )
    if attempt.retry_count == 0:
        return overtook
    return or_(overtook, job_requests.c.asked_at >= attempt.began_at - RETRIED_WITHIN)
