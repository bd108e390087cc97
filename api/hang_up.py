"""Work that nobody waits for any more is given up: a response alone would not notice that its client has gone."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from litestar.types import Receive


async def until_hang_up(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do `work`, and cancel it when the client goes.

    Args:
        receive: The request's, its body read.
        work: What answers. What it raises is raised here.
    """
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_cancel_when_gone(receive, working))
    try:
        await working
    except asyncio.CancelledError:
        # Swallowed only where it was the watch that cancelled, and nobody cancels us as well.
        if not watching.done() or _is_cancelled():
            raise
    finally:
        watching.cancel()


async def _cancel_when_gone(receive: Receive, working: asyncio.Task[None]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    working.cancel()


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
