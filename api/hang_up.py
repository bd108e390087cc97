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
    asking = asyncio.current_task()
    assert asking is not None
    has_gone = False

    async def watch() -> None:
        nonlocal has_gone
        while (await receive())["type"] != "http.disconnect":
            pass
        has_gone = True
        asking.cancel()

    watching = asyncio.create_task(watch())
    try:
        await work
    except asyncio.CancelledError:
        # Swallowed only where it was the watch that cancelled, and nobody else did as well.
        if not has_gone or asking.uncancel() > 0:
            raise
    finally:
        watching.cancel()
