"""An engine's answer on its way to the client: event by event, and stopped when the client hangs up."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from litestar.types import Receive, Scope, Send
from pydantic import ValidationError

from api.hang_up import until_hang_up
from schemas.base import Schema
from schemas.errors import ApiError
from serving.answers import stream_error

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Relay:
    """A response that asks the engine when it is sent; an ASGI application."""

    model: str
    """Who answers, as the client knows it."""
    complete: Callable[[], Awaitable[Schema]]
    """Asks for a whole answer."""
    open_events: Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]] | None
    """Asks for an answer event by event; None: the client wants a whole one."""

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer.

        Raises:
            ApiError: Before the response has begun: the engine is not there, or refuses the request.
        """
        await until_hang_up(receive, self._answer(send))

    async def _answer(self, send: Send) -> None:
        if self.open_events is None:
            await self._whole(send)
            return
        async with self.open_events() as events:
            await self._begin(
                send,
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"no-cache, must-revalidate"),
                (b"x-accel-buffering", b"no"),  # nginx would gather events
            )
            await self._relay(events, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _whole(self, send: Send) -> None:
        answer = await self.complete()
        content = answer.model_dump_json().encode()
        await self._begin(
            send,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        )
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _relay(self, events: AsyncIterator[bytes], send: Send) -> None:
        try:
            async for content in events:
                await send({"type": "http.response.body", "body": content, "more_body": True})
        except (ApiError, ValidationError) as exc:
            # The status is sent: what is left is an event that the SDKs raise on.
            logger.warning("A stream of %s broke: %s", self.model, exc)
            message = exc.message if isinstance(exc, ApiError) else "The model's answer broke off."
            content = stream_error(message)
            await send({"type": "http.response.body", "body": content, "more_body": True})

    async def _begin(self, send: Send, *headers: tuple[bytes, bytes]) -> None:
        model = (b"openai-model", self.model.encode("ascii", "replace"))
        await send({"type": "http.response.start", "status": 200, "headers": [model, *headers]})
