"""Bringing a database to the tables of this version."""

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError

from jobs.store.database import DatabaseUnusable, driver_url, refuse_old_sqlite

_SCRIPTS: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 7_268_501
"""Any number: two servers that start at once migrate one after the other."""


def migrate(url: str) -> None:
    """Upgrade the database at `url` to the newest tables; safe to repeat.

    Blocking: call it before an event loop runs, or in a thread.

    Raises:
        DatabaseUnusable: It is of another kind or cannot be reached, or this SQLite has the WAL-reset bug.
    """
    target = make_url(driver_url(url))
    if target.get_backend_name() == "sqlite":
        refuse_old_sqlite()
        if target.database:
            Path(target.database).parent.mkdir(parents=True, exist_ok=True)
            # Its owner's alone: it holds what webhooks are signed with. SQLite gives its log the same mode.
            Path(target.database).touch(mode=0o600)
        engine = create_engine(target.set(drivername="sqlite"))
        event.listen(engine, "connect", lambda connection, _: _no_implicit_begin(connection))
        event.listen(engine, "begin", _begin_immediate)
    else:
        engine = create_engine(target)
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    try:
        with engine.begin() as connection:
            if target.get_backend_name() != "sqlite":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except OperationalError as exc:
        raise DatabaseUnusable(f"The database cannot be used: {str(exc.orig).strip()}") from exc
    finally:
        engine.dispose()


def exists(url: str) -> bool:
    """Whether there may be a database at `url`: false only where SQLite would begin a new file.

    Raises:
        DatabaseUnusable: It is of another kind.
    """
    target = make_url(driver_url(url))
    is_file = target.get_backend_name() == "sqlite" and target.database
    return not is_file or Path(target.database or "").exists()


def _no_implicit_begin(connection: object) -> None:
    connection.isolation_level = None  # type: ignore[attr-defined]  # the driver's own class
    connection.execute("PRAGMA busy_timeout=10000")  # type: ignore[attr-defined]


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
