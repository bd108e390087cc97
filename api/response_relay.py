"""A response on its way to the client, whole or event by event; given up when the client hangs up."""

import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass

from litestar.types import Receive, Scope, Send

from api.hang_up import until_hang_up
from jobs.responses import operations
from jobs.responses.operations import Turn
from jobs.services import Services
from schemas.errors import ApiError
from schemas.response_events import Event, StreamError, encode_event
from schemas.responses import Response

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ResponseRelay:
    """A response that asks the model when it is sent; an ASGI application."""

    services: Services
    turn: Turn

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer.

        Raises:
            ApiError: Before the answer has begun: the engine is not there, or refuses the request.
        """
        streams = self.turn.question.streams
        await until_hang_up(receive, self._stream(send) if streams else self._whole(send))

    async def _whole(self, send: Send) -> None:
        await _send_whole(await operations.complete(self.services, self.turn), send)

    async def _stream(self, send: Send) -> None:
        await _send_events(operations.stream(self.services, self.turn), send)


@dataclass(frozen=True, slots=True)
class Stored:
    """A stored response as a whole; an ASGI application."""

    response: Response

    async def __call__(self, _: Scope, __: Receive, send: Send) -> None:
        """Answer."""
        await _send_whole(self.response, send)


@dataclass(frozen=True, slots=True)
class Replay:
    """A stored response as events; an ASGI application."""

    events: Iterable[Event]

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer."""
        await until_hang_up(receive, _send_events(_one_by_one(self.events), send))


async def _send_whole(response: Response, send: Send) -> None:
    content = response.model_dump_json().encode()
    await _begin(
        send,
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
    )
    await send({"type": "http.response.body", "body": content, "more_body": False})


async def _send_events(events: AsyncIterable[Event], send: Send) -> None:
    """Send a stream, beginning when there is something to tell: until then a request fails by its status."""
    sent = 0
    try:
        async for event in events:
            if not sent:
                await _begin_stream(send)
            body = encode_event(event)
            await send({"type": "http.response.body", "body": body, "more_body": True})
            sent += 1
    except ApiError as exc:
        if not sent:
            raise
        logger.warning("A stream of a response broke: %s", exc)
        body = encode_event(StreamError(sequence_number=sent, message=exc.message))
        await send({"type": "http.response.body", "body": body, "more_body": True})
    if not sent:
        await _begin_stream(send)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _begin_stream(send: Send) -> None:
    await _begin(
        send,
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache, must-revalidate"),
        (b"x-accel-buffering", b"no"),  # nginx would gather events
    )


async def _begin(send: Send, *headers: tuple[bytes, bytes]) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": list(headers)})


async def _one_by_one(events: Iterable[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event
