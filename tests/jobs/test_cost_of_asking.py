"""What asking a tuned model costs beside its answer, once it is known: no look into the database, none at the engine."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import Engine, event

from jobs.engines import AdapterRef, ChatTarget
from jobs.store.migrate import migrate
from tests.api_server import catalog, opener
from tests.fake_engine import running_fake_engine

BODY = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
async def services(settings, redis_url, short_tmp_path, nano_dir):
    """With an engine that is asked over a socket."""
    settings = settings.model_copy(update={"redis_url": redis_url})
    await asyncio.to_thread(migrate, settings.effective_database_url)
    with running_fake_engine(short_tmp_path / "engine.sock") as engine:
        async with opener(engine, offered=catalog(engine, directory=nano_dir))(settings) as opened:
            yield opened


@contextmanager
def looks() -> Iterator[list[str]]:
    """Collect what is read from the database. What is wanted of whom is written beside, every five seconds."""
    read: list[str] = []

    def note(_connection, _cursor, statement, *_more):
        if statement.lstrip().upper().startswith("SELECT"):
            read.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield read
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def test_an_adapter_that_is_known_costs_no_look(services, tmp_path):
    """It is loaded and its rendering looked at once in each engine; twenty more answers read nothing."""
    adapter = AdapterRef("adapter-1", tmp_path)
    target = ChatTarget("ft:nano:local::abcd1234", services.catalog.get("nano"), adapter, "proj_a")

    async def ask() -> None:
        async with services.engines.open_answer(target, BODY) as answer:
            await answer.read()

    await ask()
    tmp_path.joinpath("rendering.json").write_text("would be told of in the log")
    with looks() as read:
        for _ in range(20):
            await ask()
    assert read == []


async def test_a_look_is_noticed(services):
    """By the test above."""
    with looks() as read:
        await services.store.machines.find_engine("nano")
    assert len(read) == 1
