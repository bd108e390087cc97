"""Turns at an engine: as many as are allowed, and fewer while others ask it."""

import asyncio
from types import SimpleNamespace

from jobs.batch_pace import Pace, Turns


async def taken_by(turns, n):
    """Let `n` tasks ask for a turn and keep it; return them once nothing moves any more."""

    async def keep():
        async with turns.turn():
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(keep()) for _ in range(n)]
    for _ in range(20):
        await asyncio.sleep(0)
    return tasks


async def given_back(tasks):
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_turns_than_allowed():
    """The fourth waits until one is given back."""
    turns = Turns(3)
    tasks = await taken_by(turns, 4)
    assert turns.taken == 3
    await given_back(tasks[:1])
    assert turns.taken == 3
    await given_back(tasks)
    assert turns.taken == 0


async def test_others_come_first():
    """What an engine does beside our requests is taken off, down to one turn; later turns come back."""
    turns = Turns(4)
    await turns.make_room(running=2)
    tasks = await taken_by(turns, 4)
    assert turns.taken == 2
    await turns.make_room(running=100)
    assert turns.allowed == 1
    await turns.make_room(running=2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert turns.taken == 4
    await given_back(tasks)


async def test_a_base_may_come_while_engines_are_looked_at(monkeypatch):
    """A batch on another base that begins in that moment breaks nothing."""
    monkeypatch.setattr("jobs.batch_pace._LOOK_EVERY", 0)
    looked = []

    async def count_running(base):
        looked.append(base)
        pace.at(f"another-{len(looked)}")
        return 1

    pace = Pace(
        SimpleNamespace(
            settings=SimpleNamespace(batch_concurrency=2),
            catalog=SimpleNamespace(find=lambda name: SimpleNamespace(name=name)),
            engines=SimpleNamespace(count_running=count_running),
        )
    )
    async with pace.at("nano").turn():
        keeping = asyncio.create_task(pace.keep())
        while len(looked) < 3:
            assert not keeping.done()
            await asyncio.sleep(0)
        await given_back([keeping])
    assert looked[0].name == "nano"
