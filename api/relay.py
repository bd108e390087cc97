"""An engine's answer on its way to the client: event by event, and stopped when the client hangs up."""

import logging
from dataclasses import dataclass

from litestar.types import Receive, Scope, Send
from pydantic import ValidationError

from api.hang_up import until_hang_up
from jobs import inference
from jobs.inference import Question
from jobs.services import Services
from schemas.errors import ApiError
from serving.answers import rewrite_event, stream_error
from serving.vllm import Answer

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Relay:
    """A response that asks the engine when it is sent; an ASGI application."""

    services: Services
    question: Question

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Answer.

        Raises:
            ApiError: Before the response has begun: the engine is not there, or refuses the request.
        """
        await until_hang_up(
            receive, self._stream(send) if self.question.streams else self._whole(send)
        )

    async def _whole(self, send: Send) -> None:
        completion = await inference.complete(self.services, self.question)
        content = completion.model_dump_json().encode()
        await self._begin(
            send,
            (b"content-type", b"application/json"),
            (b"content-length", str(len(content)).encode()),
        )
        await send({"type": "http.response.body", "body": content, "more_body": False})

    async def _stream(self, send: Send) -> None:
        target, body = self.question.target, self.question.body
        async with self.services.engines.open_chat(target, body) as answer:
            await self._begin(
                send,
                (b"content-type", b"text/event-stream"),
                (b"cache-control", b"no-cache, must-revalidate"),
                (b"x-accel-buffering", b"no"),  # nginx would gather events
            )
            await self._relay(answer, send)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _relay(self, answer: Answer, send: Send) -> None:
        try:
            async for event in answer.events():
                if content := rewrite_event(event, self.question.envelope):
                    await send({"type": "http.response.body", "body": content, "more_body": True})
        except (ApiError, ValidationError) as exc:
            # The status is sent: what is left is an event that the SDKs raise on.
            logger.warning("A stream of %s broke: %s", self.question.envelope.model, exc)
            message = exc.message if isinstance(exc, ApiError) else "The model's answer broke off."
            content = stream_error(message)
            await send({"type": "http.response.body", "body": content, "more_body": True})

    async def _begin(self, send: Send, *headers: tuple[bytes, bytes]) -> None:
        model = (b"openai-model", self.question.envelope.model.encode("ascii", "replace"))
        await send({"type": "http.response.start", "status": 200, "headers": [model, *headers]})
