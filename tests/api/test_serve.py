"""What the process that serves does with its parts."""

import asyncio

import pytest

from api.cli.serve import _running


async def test_a_part_that_breaks_stops_the_server():
    """Its error is not swallowed: the others are told to stop, and it comes out at the end."""

    async def breaks():
        raise RuntimeError("the part broke")

    stop = asyncio.Event()
    with pytest.raises(RuntimeError, match="the part broke"):
        async with asyncio.timeout(5), _running(breaks(), stop):
            await stop.wait()


async def test_a_part_that_runs_is_cancelled_and_waited_for():
    """Leaving the block ends it, and it has time to put things away."""
    put_away = asyncio.Event()

    async def runs():
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            put_away.set()

    stop = asyncio.Event()
    async with _running(runs(), stop):
        await asyncio.sleep(0)
    assert put_away.is_set()
    assert not stop.is_set()


async def test_a_part_that_ends_well_stops_nothing():
    """Saying that the server is ready is over soon; the server goes on."""

    async def ends():
        return

    stop = asyncio.Event()
    async with _running(ends(), stop):
        for _ in range(3):
            await asyncio.sleep(0)
        assert not stop.is_set()
