"""The endpoints that a batch may name, and how each is asked: as by a client of its own, one line at a time."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import BaseModel, JsonValue

from jobs import embeddings, inference, text_completions
from jobs.keys import Caller
from jobs.responses import operations as responses
from jobs.services import Services
from schemas.bases import Task
from schemas.batches import BatchEndpoint
from schemas.chat import ChatRequest
from schemas.embeddings import EmbeddingRequest
from schemas.response_requests import ResponseRequest
from schemas.scopes import Scope
from schemas.text_completions import TextRequest
from schemas.validation import validated


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One of the endpoints."""

    ask: Callable[[Services, Caller, JsonValue], Awaitable[BaseModel]]
    """Checks a line's body as the live endpoint does, and returns its whole answer.

    It raises what the live endpoint would answer with, an ApiError.
    """
    task: Task = "generate"
    """What its models do."""
    scope: Scope = "model.request"
    """What the live endpoint asks of a key."""


async def _chat(services: Services, caller: Caller, body: JsonValue) -> BaseModel:
    question = await inference.prepare(services, caller, validated(ChatRequest, body), batch=True)
    return await inference.complete(services, question)


async def _text(services: Services, caller: Caller, body: JsonValue) -> BaseModel:
    asked = validated(TextRequest, body)
    question = await text_completions.prepare(services, caller, asked, batch=True)
    return await text_completions.complete(services, question)


async def _embed(services: Services, caller: Caller, body: JsonValue) -> BaseModel:
    asked = validated(EmbeddingRequest, body)
    question = await embeddings.prepare(services, caller, asked, batch=True)
    return await embeddings.embed(services, question)


async def _respond(services: Services, caller: Caller, body: JsonValue) -> BaseModel:
    turn = await responses.prepare(services, caller, validated(ResponseRequest, body), batch=True)
    return await responses.complete(services, turn)


ENDPOINTS: Final[Mapping[BatchEndpoint, Endpoint]] = {
    "/v1/responses": Endpoint(_respond, scope="api.responses.write"),
    "/v1/chat/completions": Endpoint(_chat),
    "/v1/embeddings": Endpoint(_embed, task="embed"),
    "/v1/completions": Endpoint(_text),
}
