"""`/v1/responses`."""

from typing import Literal

from litestar import Controller, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import ASGIApp
from pydantic import Field

from api.bodies import CHAT_BYTES, ApiRequest
from api.headers import tell_limits
from api.response_relay import Replay, ResponseRelay, Stored
from jobs.keys import Caller
from jobs.responses import operations
from jobs.services import Services
from schemas.base import CursorPage, Schema
from schemas.response_events import Event
from schemas.response_items import Item
from schemas.response_requests import CompactRequest, CountRequest, ResponseRequest
from schemas.responses import CompactedResponse, InputTokens, Response, ResponseDeleted


class RetrieveResponse(Schema):
    """The query of a stored response."""

    stream: bool = False
    starting_after: int | None = Field(default=None, ge=0, le=2**53)


class ListInputItems(Schema):
    """The query of a list of what a response was asked."""

    limit: int = Field(default=20, ge=0, le=100)
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None


class Responses(Controller):
    """Ask a model, and look up, list and delete what was asked and answered."""

    path = "/responses"

    @post(status_code=200, max_bytes=CHAT_BYTES, answer=Response, events=Event)
    async def create(
        self,
        request: ApiRequest,
        asked: NamedDependency[ResponseRequest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ASGIApp:
        turn = await operations.prepare(services, caller, asked)
        tell_limits(request, turn.question.account)
        return ResponseRelay(services, turn)

    @post("/input_tokens", status_code=200, max_bytes=CHAT_BYTES)
    async def count_input_tokens(
        self,
        asked: NamedDependency[CountRequest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> InputTokens:
        return await operations.count_input_tokens(services, caller, asked)

    @post("/compact", status_code=200, max_bytes=CHAT_BYTES)
    async def compact(
        self,
        asked: NamedDependency[CompactRequest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CompactedResponse:
        return await operations.compact(services, caller, asked)

    @get("/{response_id:str}", answer=Response, events=Event)
    async def retrieve(
        self,
        response_id: FromPath[str],
        params: NamedDependency[RetrieveResponse],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ASGIApp:
        if params.stream:
            after = params.starting_after
            events = await operations.replay(services, caller, response_id, starting_after=after)
            return Replay(events)
        return Stored(await operations.get(services, caller, response_id))

    @delete("/{response_id:str}", status_code=200)
    async def remove(
        self,
        response_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ResponseDeleted:
        return await operations.delete(services, caller, response_id)

    @post("/{response_id:str}/cancel", status_code=200)
    async def cancel(
        self,
        response_id: FromPath[str],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> None:
        await operations.cancel(services, caller, response_id)

    @get("/{response_id:str}/input_items")
    async def list_input_items(
        self,
        response_id: FromPath[str],
        params: NamedDependency[ListInputItems],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> CursorPage[Item]:
        return await operations.list_input_items(
            services,
            caller,
            response_id,
            limit=params.limit,
            order=params.order,
            after=params.after,
        )
