"""Records of what runs: the engines that are wanted, the workers that are alive."""

from collections.abc import Mapping

from sqlalchemy import Row, Table, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.records import EngineRecord, EngineState, TrainerMemory, WorkerRecord
from jobs.store.tables import engines, workers


class MachineRecords:
    """How API and worker say which engines they want, and learn how those are."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def want_engine(self, base: str, *, now: float) -> None:
        """Say that somebody needs the engine of `base`."""
        async with self._database.write() as connection:
            await _upsert(
                connection,
                engines,
                key={"base": base},
                new={"wanted_at": now, "state": "stopped", "message": "", "changed_at": now},
                change={"wanted_at": now},
            )

    async def report_engine(
        self, base: str, state: EngineState, *, now: float, message: str = ""
    ) -> None:
        """Say how the engine of `base` is."""
        told = {"state": state, "message": message, "changed_at": now}
        async with self._database.write() as connection:
            await _upsert(
                connection, engines, key={"base": base}, new=told | {"wanted_at": 0.0}, change=told
            )

    async def engines(self) -> list[EngineRecord]:
        """Return every engine that was ever wanted."""
        async with self._database.read() as connection:
            return [_engine(row) for row in await connection.execute(select(engines))]

    async def find_engine(self, base: str) -> EngineRecord | None:
        """Return what is known of the engine of `base`."""
        async with self._database.read() as connection:
            query = select(engines).where(engines.c.base == base)
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _engine(row)

    async def beat(self, worker: WorkerRecord) -> None:
        """Say that a worker is alive."""
        trainer = worker.trainer and worker.trainer.model_dump_json()
        fields = worker.model_dump(exclude={"id", "trainer"}) | {"trainer": trainer}
        async with self._database.write() as connection:
            await _upsert(connection, workers, key={"id": worker.id}, new=fields, change=fields)

    async def workers(self, *, seen_after: float) -> list[WorkerRecord]:
        """Return the workers that were alive after a time."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(workers).where(workers.c.seen_at > seen_after))
            return [_worker(row) for row in rows]

    async def find_worker(self, worker_id: str) -> WorkerRecord | None:
        """Return a worker, alive or not."""
        async with self._database.read() as connection:
            query = select(workers).where(workers.c.id == worker_id)
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _worker(row)

    async def forget_worker(self, worker_id: str) -> None:
        """Strike a worker off."""
        async with self._database.write() as connection:
            await connection.execute(delete(workers).where(workers.c.id == worker_id))


async def _upsert(
    connection: AsyncConnection,
    table: Table,
    *,
    key: Mapping[str, object],
    new: Mapping[str, object],
    change: Mapping[str, object],
) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    await connection.execute(
        dialect.insert(table)
        .values(**key, **new)
        .on_conflict_do_update(index_elements=list(key), set_=dict(change))
    )


def _worker(row: Row[tuple[object, ...]]) -> WorkerRecord:
    return WorkerRecord(
        id=row.id,
        host=row.host,
        pid=row.pid,
        seen_at=row.seen_at,
        trainer=row.trainer and TrainerMemory.model_validate_json(row.trainer),
    )


def _engine(row: Row[tuple[object, ...]]) -> EngineRecord:
    return EngineRecord(
        base=row.base, wanted_at=row.wanted_at, state=row.state, message=row.message
    )
