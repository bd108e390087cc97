"""The endpoints that a batch may name, and how each is asked: as by a client of its own, one line at a time."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from pydantic import BaseModel, JsonValue

from jobs import inference
from jobs.keys import Caller
from jobs.services import Services
from schemas.batches import BatchEndpoint
from schemas.chat import ChatRequest
from schemas.validation import validated

Ask = Callable[[Services, Caller, JsonValue], Awaitable[BaseModel]]
"""Checks a line's body as the live endpoint does, and returns its whole answer.

It raises what the live endpoint would answer with, an ApiError.
"""


async def _chat(services: Services, caller: Caller, body: JsonValue) -> BaseModel:
    question = await inference.prepare(services, caller, validated(ChatRequest, body))
    return await inference.complete(services, question)


ENDPOINTS: Final[Mapping[BatchEndpoint, Ask]] = {
    "/v1/chat/completions": _chat,
}
