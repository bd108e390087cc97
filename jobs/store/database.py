"""Opening a database so that nothing it acknowledges is lost, and no update overwrites another.

SQLAlchemy's defaults on SQLite begin no transaction before a SELECT, so a read-modify-write loses updates;
here every transaction that may write begins as `BEGIN IMMEDIATE`, and one connection a process writes.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, Final

from sqlalchemy import Connection, event, make_url
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

from schemas.errors import StorageFull, StoreUnavailable

FIXED_SQLITE: Final = (3, 51, 3)
"""Older ones may corrupt a WAL that two processes checkpoint at once (sqlite.org, "WAL-reset bug")."""

_BUSY_MILLISECONDS: Final = 10_000
_PRAGMAS: Final = (
    "journal_mode=WAL",
    "synchronous=FULL",  # an acknowledged commit survives a power cut
    f"busy_timeout={_BUSY_MILLISECONDS}",
    "foreign_keys=ON",
    "trusted_schema=OFF",
)


class DatabaseUnusable(Exception):
    """The database cannot be used as it is; the message says what to do."""


def driver_url(url: str) -> str:
    """Return `url` with our async driver: aiosqlite or psycopg 3.

    Raises:
        DatabaseUnusable: It is neither SQLite nor Postgres.
    """
    parsed = make_url(url)
    match parsed.get_backend_name():
        case "sqlite":
            return parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False)
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        case name:
            raise DatabaseUnusable(
                f"RETUNE_DATABASE_URL names a {name} database; use sqlite:///… or postgresql://…"
            )


class Database:
    """One database: transactions that write, one after the other, and transactions that only read."""

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine) -> None:
        self._writer = writer
        self._reader = reader
        # SQLite's busy handler is unfair: a waiter may starve for seconds. This queue is fair.
        self._turn = asyncio.Lock() if writer.dialect.name == "sqlite" else nullcontext()

    @asynccontextmanager
    async def write(self) -> AsyncGenerator[AsyncConnection]:
        """Open a transaction that commits at the end, or leaves everything as it was.

        Raises:
            StorageFull: The disk has no room.
            StoreUnavailable: The database does not answer.
        """
        with _our_errors():
            async with self._turn, self._writer.begin() as connection:
                yield connection

    @asynccontextmanager
    async def read(self) -> AsyncGenerator[AsyncConnection]:
        """Open a transaction that sees one state and changes nothing.

        Raises:
            StoreUnavailable: The database does not answer.
        """
        with _our_errors():
            async with self._reader.connect() as connection:
                yield connection


@asynccontextmanager
async def open_database(url: str) -> AsyncGenerator[Database]:
    """Connect to `url`; its tables are there already (`jobs.store.migrate`).

    Raises:
        DatabaseUnusable: It is of another kind, or this SQLite has the WAL-reset bug.
    """
    target = driver_url(url)
    if target.startswith("sqlite"):
        refuse_old_sqlite()
        writer = _sqlite_engine(target, begin="BEGIN IMMEDIATE", pool_size=1)
        reader = _sqlite_engine(target, begin="BEGIN", pool_size=4, read_only=True)
    else:
        writer = reader = create_async_engine(
            target, pool_size=8, max_overflow=0, pool_pre_ping=True
        )
    try:
        yield Database(writer, reader)
    finally:
        await writer.dispose()
        await reader.dispose()


def refuse_old_sqlite() -> None:
    """Check the SQLite that this process would use.

    Raises:
        DatabaseUnusable: It is older than `FIXED_SQLITE`.
    """
    if sqlite3.sqlite_version_info < FIXED_SQLITE:
        raise DatabaseUnusable(
            f"SQLite {sqlite3.sqlite_version} may corrupt a database that several processes write. "
            "Install the package pysqlite3 (0.6.1 or later), or set RETUNE_DATABASE_URL to a Postgres."
        )


@contextmanager
def _our_errors() -> Generator[None]:
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as exc:
        if "disk is full" in str(exc):
            raise StorageFull(
                "There is no space left to record this; nothing was changed."
            ) from exc
        raise StoreUnavailable("The database does not answer. Please try again.") from exc


def _sqlite_engine(url: str, *, begin: str, pool_size: int, read_only: bool = False) -> AsyncEngine:
    engine = create_async_engine(
        url, poolclass=AsyncAdaptedQueuePool, pool_size=pool_size, max_overflow=0
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own
        connection.isolation_level = None  # we say BEGIN ourselves
        cursor = connection.cursor()
        for pragma in (*_PRAGMAS, *(("query_only=ON",) if read_only else ())):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
