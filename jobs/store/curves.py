"""What jobs measured step by step, as a chart needs it: a few numbers of many events, never whole events."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import select, tuple_

from jobs.store.database import Database
from jobs.store.pairs import member_text
from jobs.store.tables import job_events, jobs
from schemas.errors import InvalidRequest

_STEP: Final = "step-"
"""What the `dedupe_key` of a step's event begins with; its number follows."""
_IS_STEP: Final = job_events.c.dedupe_key.like(f"{_STEP}%")


class Told(NamedTuple):
    """Events of steps, in the order in which they were told."""

    events: Sequence[str]
    """JSON, as `schemas.fine_tuning.Event`."""
    last_id: str | None
    """Of the last event among them; None: there is none."""


class CurveRecords:
    """Reads what `JobRecords` wrote."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def losses(
        self, job_ids: Sequence[str], *, points: int
    ) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Return steps and training losses of some jobs, each job's evenly over its steps.

        A step is found by its name, so that a long job costs no more than a short one.

        Args:
            job_ids: Whose; one without a step is left out.
            points: How many a job has at most; at least 2.
        """
        newest = (
            select(job_events.c.dedupe_key)
            .where(job_events.c.job_id == jobs.c.id, _IS_STEP)
            .order_by(job_events.c.seq.desc())
            .limit(1)
            .scalar_subquery()
        )
        found: dict[str, list[tuple[int, float]]] = {}
        async with self._database.read() as connection:
            last_steps = await connection.execute(
                select(jobs.c.id, newest.label("newest")).where(jobs.c.id.in_(job_ids))
            )
            named = [
                (row.id, f"{_STEP}{step}")
                for row in last_steps
                if row.newest is not None
                for step in _spread(int(row.newest.removeprefix(_STEP)), points)
            ]
            loss = member_text(connection, job_events.c.event, "data", "train_loss")
            name = tuple_(job_events.c.job_id, job_events.c.dedupe_key)
            rows = await connection.execute(
                select(job_events.c.job_id, job_events.c.dedupe_key, loss.label("loss")).where(
                    name.in_(named)
                )
            )
            for row in rows:
                if row.loss is not None:
                    step = int(row.dedupe_key.removeprefix(_STEP))
                    found.setdefault(row.job_id, []).append((step, float(row.loss)))
        return {job_id: sorted(curve) for job_id, curve in found.items()}

    async def steps(
        self, job_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Told:
        """Return what a job told of its steps.

        Args:
            job_id: Which.
            after: An event's id; only what was told after it.
            limit: At most so many.

        Raises:
            InvalidRequest: `after` is no event of the job's.
        """
        mine = job_events.c.job_id == job_id
        query = select(job_events.c.id, job_events.c.event).where(mine, _IS_STEP)
        async with self._database.read() as connection:
            if after is not None:
                seq = await connection.scalar(
                    select(job_events.c.seq).where(mine, job_events.c.id == after)
                )
                if seq is None:
                    raise InvalidRequest(f"There is no event '{after}' of this job.", param="after")
                query = query.where(job_events.c.seq > seq)
            query = query.order_by(job_events.c.seq).limit(limit)
            rows = (await connection.execute(query)).all()
        return Told([row.event for row in rows], rows[-1].id if rows else None)


def _spread(last: int, points: int) -> Iterable[int]:
    """Return up to so many numbers from 1 to `last`, both among them."""
    if last <= points:
        return range(1, last + 1)
    return (1 + (last - 1) * place // (points - 1) for place in range(points))
