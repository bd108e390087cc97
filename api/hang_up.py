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
    watching = asyncio.create_task(_hang_up(receive))
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
