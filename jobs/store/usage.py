"""Records of what was used, added up by the minute."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple

from sqlalchemy import and_, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.tables import usage
from schemas.base import Schema
from schemas.usage import UsageKind, Used, UsedBy

_SUMS = ("requests", "input_tokens", "cached_tokens", "output_tokens", "device_seconds")
_GROUPS = ("project_id", "api_key_id", "model", "batch", "job_id")


class UsageRow(Schema):
    """What one group used in one bucket."""

    start: int
    """Unix seconds."""
    group: dict[str, str | bool]
    used: Used


class UsageRecords:
    """Sums by minute, project, key, model and job."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, counted: Mapping[UsedBy, Used]) -> None:
        """Add to what is recorded, all of it or nothing."""
        async with self._database.write() as connection:
            await add_used(connection, counted)

    async def sums(
        self,
        *,
        kind: UsageKind,
        start: int,
        end: int,
        width: int,
        group_by: Sequence[str],
        only: Mapping[str, Sequence[str]],
        batch: bool | None = None,
    ) -> list[UsageRow]:
        """Return the sums of each bucket and group between `start` and `end`, oldest first.

        Args:
            kind: Of what.
            start: Inclusive, a multiple of `width`.
            end: Exclusive.
            width: Of a bucket, in seconds.
            group_by: Of `project_id`, `api_key_id`, `model`, `batch`, `job_id`.
            only: For some of the first three the values that count; an empty list: all.
            batch: Whether only batches count, or all but them; None: both.
        """
        bucket = (usage.c.minute // width * width).label("start")
        groups = [usage.c[name] for name in _GROUPS if name in group_by]
        wanted = [usage.c.kind == kind, usage.c.minute >= start, usage.c.minute < end]
        wanted += [usage.c[name].in_(values) for name, values in only.items() if values]
        if batch is not None:
            wanted.append(usage.c.batch == batch)
        query = (
            select(bucket, *groups, *(func.sum(usage.c[name]).label(name) for name in _SUMS))
            .where(and_(*wanted))
            .group_by(bucket, *groups)
            .order_by(bucket, *groups)
        )
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return [
            UsageRow(
                start=row["start"],
                group={column.name: row[column.name] for column in groups},
                used=Used(**{name: row[name] for name in _SUMS}),
            )
            for row in rows
        ]


async def add_used(connection: AsyncConnection, counted: Mapping[UsedBy, Used]) -> None:
    """Add to what is recorded, within a transaction."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    # In one order everywhere: two processes that add to the same rows never wait for each other.
    for by, used in sorted(counted.items(), key=lambda item: astuple(item[0])):
        statement = dialect.insert(usage).values(**asdict(by), **asdict(used))
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=list(usage.primary_key.columns),
                set_={name: usage.c[name] + statement.excluded[name] for name in _SUMS},
            )
        )
