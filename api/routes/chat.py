"""`/v1/chat/completions`."""

from functools import partial
from typing import Literal

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp
from pydantic import Field

from api.bodies import CHAT_BYTES, ApiRequest
from api.headers import tell_limits
from api.relay import Relay
from jobs import inference, stored_completions
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import CursorPage, Metadata, Schema
from schemas.chat import ChatRequest
from schemas.completions import ChatCompletion, Chunk, ChunkWithUsage
from schemas.stored_completions import (
    CompletionDeleted,
    StoredCompletion,
    StoredMessage,
    UpdateCompletion,
)


class ListMessages(Schema):
    """The query of a list of messages."""

    limit: int = Field(default=20, ge=0, le=100)
    order: Literal["asc", "desc"] = "asc"
    after: str | None = None


class ListCompletions(ListMessages):
    """The query of a list of kept completions."""

    model: str | None = None


async def answer_chat(
    request: ApiRequest, services: Services, caller: Caller, chat: ChatRequest
) -> ASGIApp:
    """Answer as the engine does, whole or as a stream."""
    request_id = request.scope["state"].get("request_id")
    question = await inference.prepare(services, caller, chat, request_id=request_id)
    tell_limits(request, question.account)
    return Relay(
        model=question.envelope.model,
        complete=partial(inference.complete, services, question),
        open_events=partial(inference.open_events, services, question)
        if question.streams
        else None,
    )


class ChatCompletions(Controller):
    """Ask a model, and look up what was asked with `store`."""

    path = "/chat/completions"

    @post(
        status_code=200, max_bytes=CHAT_BYTES, answer=ChatCompletion, events=ChunkWithUsage | Chunk
    )
    async def create(self, request: ApiRequest, asked: NamedDependency[ChatRequest]) -> ASGIApp:
        # One dependency and no more: Litestar gathers several in a task group, which costs this route,
        # the busiest, a third of its budget.
        return await answer_chat(request, request.app.state.services, request.user, asked)

    @get()
    async def list_all(
        self,
        params: NamedDependency[ListCompletions],
        metadata: NamedDependency[Metadata | None],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[StoredCompletion]:
        return await stored_completions.list_completions(
            services,
            caller,
            model=params.model,
            metadata=metadata,
            limit=params.limit,
            after=params.after,
            order=params.order,
        )

    @get("/{completion_id:str}")
    async def retrieve(
        self,
        completion_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> StoredCompletion:
        return await stored_completions.get(services, caller, completion_id)

    @post("/{completion_id:str}", status_code=200)
    async def update(
        self,
        completion_id: FromPath[str],
        asked: NamedDependency[UpdateCompletion],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> StoredCompletion:
        return await stored_completions.update(
            services, caller, completion_id, metadata=asked.metadata
        )

    @delete("/{completion_id:str}", status_code=200)
    async def remove(
        self,
        completion_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CompletionDeleted:
        return await stored_completions.delete(services, caller, completion_id)

    @get("/{completion_id:str}/messages")
    async def list_messages(
        self,
        completion_id: FromPath[str],
        params: NamedDependency[ListMessages],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[StoredMessage]:
        return await stored_completions.list_messages(
            services,
            caller,
            completion_id,
            limit=params.limit,
            after=params.after,
            order=params.order,
        )
