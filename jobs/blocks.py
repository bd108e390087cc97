"""Reading what blocks without stopping the event loop."""

from asyncio import to_thread
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


async def in_thread(items: Iterator[T], *, block: int = 16) -> AsyncGenerator[T]:
    """Yield what a blocking iterator gives; a thread takes `block` of them at a time."""
    while taken := await to_thread(_take, items, block):
        for item in taken:
            yield item


def _take(items: Iterator[T], n: int) -> list[T]:
    return list(islice(items, n))
