"""Which of a project's jobs are meant: the conditions of a list of jobs, on SQLite and Postgres alike."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, Text, cast, exists, func, or_
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.pairs import has_pairs, member_text
from jobs.store.tables import jobs
from schemas.base import Schema
from schemas.fine_tuning import JobStatus

_NAMES = ("model", "fine_tuned_model", "user_provided_suffix")
"""Of a job's document: what people call it by, beside its id."""


class JobFilter(Schema):
    """What a job must be; None: that does not matter."""

    statuses: Sequence[JobStatus] | None = None
    search: str | None = None
    """Part of its id, suffix or models, in any case of letters."""
    base: str | None = None
    metadata: Mapping[str, str] | None = None
    """Pairs that it must have, all of them; empty: only jobs without metadata."""
    files: Sequence[str] | None = None
    """Ids of files of which it trains on, validates with or made one."""

    def conditions(self, connection: AsyncConnection) -> list[ColumnElement[bool]]:
        """Return what must all hold.

        Args:
            connection: Whose database will be asked.
        """
        return list(self._conditions(connection))

    def _conditions(self, connection: AsyncConnection) -> Iterator[ColumnElement[bool]]:
        if self.statuses is not None:
            yield jobs.c.status.in_(self.statuses)
        if self.base is not None:
            yield jobs.c.base == self.base
        if self.metadata is not None:
            yield _has_metadata(connection, self.metadata)
        if self.files is not None:
            yield _has_file(connection, list(self.files))
        if self.search:
            searched = [jobs.c.id, *(member_text(connection, jobs.c.job, name) for name in _NAMES)]
            yield or_(*(text.icontains(self.search, autoescape=True) for text in searched))


ALL_JOBS: Final = JobFilter()


def _has_metadata(connection: AsyncConnection, wanted: Mapping[str, str]) -> ColumnElement[bool]:
    if wanted:
        return has_pairs(connection, jobs.c.job, wanted, member="metadata")
    if connection.dialect.name == "postgresql":
        return func.jsonb_typeof(cast(jobs.c.job, JSONB)["metadata"]) == "null"
    return func.json_type(jobs.c.job, "$.metadata") == "null"


def _has_file(connection: AsyncConnection, ids: list[str]) -> ColumnElement[bool]:
    reads = [
        member_text(connection, jobs.c.job, name).in_(ids)
        for name in ("training_file", "validation_file")
    ]
    if connection.dialect.name == "postgresql":
        made = cast(jobs.c.job, JSONB)["result_files"]
        return or_(*reads, made.has_any(cast(ids, ARRAY(Text))))
    result = func.json_each(jobs.c.job, "$.result_files").table_valued("value")
    return or_(*reads, exists().select_from(result).where(result.c.value.in_(ids)))
