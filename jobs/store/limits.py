"""Records of what projects may use, and the checks that hold quotas while something is created."""

from typing import Final

from sqlalchemy import ColumnElement, Select, and_, delete, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.tables import files, jobs, project_quotas, rate_limits
from schemas.errors import LimitReached, StorageQuotaReached
from schemas.fine_tuning import Job
from schemas.limits import Limits, Quotas

_DAY: Final = 24 * 3600
_PENDING: Final = ("validating_files", "queued")
_MADE_BY_US: Final = ("assistants_output", "batch_output", "fine-tune-results")
"""Purposes of files that are counted, never refused: what was computed must not be lost."""


class LimitRecords:
    """Rate limits by project and model, and quotas by project. What has no record is not limited."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def rate_limits(self, project_id: str) -> dict[str, Limits]:
        """Return a project's limits by model."""
        query = select(rate_limits).where(rate_limits.c.project_id == project_id)
        async with self._database.read() as connection:
            rows = await connection.execute(query)
            return {row.model: Limits.model_validate_json(row.limits) for row in rows}

    async def set_rate_limit(self, project_id: str, model: str, limits: Limits) -> None:
        """Replace a project's limits on a model."""
        mine = and_(rate_limits.c.project_id == project_id, rate_limits.c.model == model)
        async with self._database.write() as connection:
            await connection.execute(delete(rate_limits).where(mine))
            await connection.execute(
                insert(rate_limits).values(
                    project_id=project_id, model=model, limits=limits.model_dump_json()
                )
            )

    async def quotas(self, project_id: str) -> Quotas:
        """Return a project's quotas."""
        async with self._database.read() as connection:
            return _quotas(await connection.scalar(_quotas_of(project_id)))

    async def set_quotas(self, project_id: str, quotas: Quotas) -> None:
        """Replace a project's quotas."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(project_quotas).where(project_quotas.c.project_id == project_id)
            )
            await connection.execute(
                insert(project_quotas).values(
                    project_id=project_id, quotas=quotas.model_dump_json()
                )
            )


async def ensure_room_for_file(
    connection: AsyncConnection, project_id: str, *, purpose: str, size: int
) -> None:
    """Hold the storage quota, within the transaction that records a file of `size` bytes.

    Raises:
        StorageQuotaReached: The project's files would be larger, together, than they may be.
    """
    # Locked, here and below: on Postgres two who create at once count one after the other.
    quotas = _quotas(await connection.scalar(_quotas_of(project_id).with_for_update()))
    limit = quotas.max_storage_bytes
    if limit is None or purpose in _MADE_BY_US:
        return
    used = await connection.scalar(
        select(func.coalesce(func.sum(files.c.bytes), 0)).where(files.c.project_id == project_id)
    )
    if int(used or 0) + size > limit:
        raise StorageQuotaReached(
            f"Your project's files take {used} of the {limit} bytes that they may, and this one has "
            f"{size}. Delete some files, or ask an administrator for a larger quota.",
            param="file",
            code="storage_quota_exceeded",
        )


async def ensure_room_for_job(connection: AsyncConnection, project_id: str, job: Job) -> None:
    """Hold the quotas on jobs, within the transaction that records `job`.

    Raises:
        LimitReached: Too many are active, or were created within a day; in OpenAI's words.
    """
    quotas = _quotas(await connection.scalar(_quotas_of(project_id).with_for_update()))
    rate_limited = (
        "This fine-tune request has been rate-limited. Your project has reached the maximum"
    )
    mine = jobs.c.project_id == project_id
    if (most := quotas.max_concurrent_jobs) is not None:
        running = await _count(connection, and_(mine, jobs.c.status == "running"))
        pending = await _count(connection, and_(mine, jobs.c.status.in_(_PENDING)))
        if running + pending >= most:
            raise LimitReached(
                f"{rate_limited} of {most} active requests ({running} running, {pending} pending).",
                code="rate_limit_exceeded",
            )
    if (most := quotas.max_jobs_per_day) is not None and (
        most == 0 or await _is_within_a_day(connection, mine, most, job.created_at)
    ):
        raise LimitReached(
            f"{rate_limited} of {most} fine-tuning requests per day.",
            code="daily_rate_limit_exceeded",
        )


async def _is_within_a_day(
    connection: AsyncConnection, mine: ColumnElement[bool], nth: int, now: int
) -> bool:
    """Whether the `nth` newest job is less than a day old."""
    found = await connection.scalar(
        select(jobs.c.job).where(mine).order_by(jobs.c.seq.desc()).offset(nth - 1).limit(1)
    )
    return found is not None and Job.model_validate_json(found).created_at > now - _DAY


def _quotas_of(project_id: str) -> Select[tuple[str]]:
    return select(project_quotas.c.quotas).where(project_quotas.c.project_id == project_id)


def _quotas(found: str | None) -> Quotas:
    return Quotas() if found is None else Quotas.model_validate_json(found)


async def _count(connection: AsyncConnection, which: ColumnElement[bool]) -> int:
    counted = await connection.scalar(select(func.count()).select_from(jobs).where(which))
    return int(counted or 0)
