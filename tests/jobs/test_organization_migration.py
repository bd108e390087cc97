"""A server that was there before organizations were keeps its keys."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, make_url, text

import jobs.store
from jobs.keys import KeyRing, key_digest
from jobs.store.database import driver_url
from jobs.store.migrate import migrate
from jobs.store.store import open_store

BEFORE = "0005"


def old_database(url: str) -> Engine:
    """Make the tables of the revision before."""
    target = make_url(driver_url(url))
    engine = create_engine(
        target.set(drivername="sqlite") if "sqlite" in target.drivername else target
    )
    config = Config()
    config.set_main_option("script_location", str(Path(jobs.store.__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, BEFORE)
    return engine


async def test_keys_made_before_still_open_their_project(database_url):
    """Unrestricted, under their old ids; what was revoked stays so."""
    engine = await asyncio.to_thread(old_database, database_url)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO projects VALUES ('proj_default', 'local', 'D', 1)"))
        for key_id, key, revoked_at in (("key_1", "good", None), ("key_2", "bad", 2)):
            connection.execute(
                text(
                    "INSERT INTO api_keys VALUES (:id, 'proj_default', :digest, 'h', 'n', 1, :at)"
                ),
                {"id": key_id, "digest": key_digest(key), "at": revoked_at},
            )
    engine.dispose()
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as store:
        caller = await KeyRing(store).authenticate("good")
        kept = [(key.id, key.revoked_at) for key in await store.keys.all()]
    assert (caller.key_id, caller.project_id, caller.organization_id) == (
        "key_1",
        "proj_default",
        "local",
    )
    assert kept == [("key_1", None), ("key_2", 2)]
