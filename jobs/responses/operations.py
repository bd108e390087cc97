"""What a user can do with responses."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import NoReturn

from pydantic import ValidationError

from jobs import inference
from jobs.inference import Question
from jobs.keys import Caller
from jobs.responses.compaction import SUMMARISE, pack
from jobs.responses.conversation import items_of, messages_of, referenced_ids
from jobs.responses.events import BROKE_OFF, Narration, answered, replayed
from jobs.responses.translation import counted, opened, plain_chat, to_chat, with_sampling
from jobs.services import Services
from jobs.store.paging import Order
from schemas.base import CursorPage
from schemas.chat import Message
from schemas.errors import ApiError, InvalidRequest
from schemas.ids import new_hex_id
from schemas.response_events import Event
from schemas.response_items import Item
from schemas.response_requests import CompactRequest, Conversation, CountRequest, ResponseRequest
from schemas.responses import CompactedResponse, InputTokens, Response, ResponseDeleted

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turn:
    """A checked request for a response, on its way to a model."""

    question: Question
    asked: list[Item]
    """What the request adds to the conversation."""
    response: Response
    """As it begins."""
    project_id: str


async def prepare(
    services: Services, caller: Caller, request: ResponseRequest, *, batch: bool = False
) -> Turn:
    """Return what to ask of whom, with the whole conversation that the request goes on from.

    Args:
        services: Open.
        caller: Who asks.
        request: Checked.
        batch: Whether a batch asks: it is counted apart, and has limits of its own.

    Raises:
        InvalidRequest: The conversation does not hold together, or its beginning is no more.
        NotFound: Nobody the caller may ask answers to the model's name, or an item is not stored.
        RateLimited: The caller must wait.
    """
    asked, messages = await _conversation(services, caller, request)
    chat = with_sampling(to_chat(request, messages), request)
    question = await inference.prepare(services, caller, chat, batch=batch)
    response = opened(
        request,
        response_id=new_hex_id("resp_"),
        model=question.envelope.model,
        now=int(time.time()),
    )
    return Turn(question, asked, response, caller.project_id)


async def complete(services: Services, turn: Turn) -> Response:
    """Ask, wait for the whole answer, and keep it; the request must not stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; the request may be sent again.
    """
    completion = await inference.complete(services, turn.question)
    response = answered(turn.response, completion, now=int(time.time()))
    await _keep(services, turn, response)
    return response


async def stream(services: Services, turn: Turn) -> AsyncIterator[Event]:
    """Ask, and yield the answer event by event; it is kept before its last event. The request must stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there. Where it goes away after the first event, the events say so.
        StoreUnavailable: The answer could not be kept.
    """
    narration = Narration(turn.response)
    async with aclosing(inference.stream(services, turn.question)) as chunks:
        # Nothing is told before the engine answers: until then a request can fail by its status.
        first = await anext(chunks, None)
        for event in narration.begin():
            yield event
        try:
            for event in narration.tell(first) if first else []:
                yield event
            async for chunk in chunks:
                for event in narration.tell(chunk):
                    yield event
        except (ApiError, ValidationError) as exc:
            logger.warning("broke off: response_id=%s %r", turn.response.id, exc)
            last = narration.fail(exc.message if isinstance(exc, ApiError) else BROKE_OFF)
        else:
            last = narration.end(now=int(time.time()))
    await _keep(services, turn, narration.response)
    for event in last:
        yield event


async def get(services: Services, caller: Caller, response_id: str) -> Response:
    """Return a stored response.

    Raises:
        ResponseNotFound: The caller has none of that id.
    """
    return await services.store.responses.get(response_id, project_id=caller.project_id)


async def replay(
    services: Services, caller: Caller, response_id: str, *, starting_after: int | None
) -> list[Event]:
    """Return a stored response as events, numbered afresh, from after `starting_after` on.

    Raises:
        ResponseNotFound: The caller has none of that id.
    """
    response = await get(services, caller, response_id)
    begin = 0 if starting_after is None else starting_after + 1
    return replayed(response)[begin:]


async def cancel(services: Services, caller: Caller, response_id: str) -> NoReturn:
    """Refuse: a response that is stored is over, and none runs in the background.

    Raises:
        ResponseNotFound: The caller has none of that id.
        InvalidRequest: It is over.
    """
    await get(services, caller, response_id)
    raise InvalidRequest(
        "Cannot cancel a synchronous response. To stop one that is under way, close its connection."
    )


async def delete(services: Services, caller: Caller, response_id: str) -> ResponseDeleted:
    """Delete a stored response and its items.

    Raises:
        ResponseNotFound: The caller has none of that id.
    """
    await services.store.responses.delete(response_id, project_id=caller.project_id)
    return ResponseDeleted(id=response_id)


async def list_input_items(
    services: Services,
    caller: Caller,
    response_id: str,
    *,
    limit: int,
    order: Order,
    after: str | None,
) -> CursorPage[Item]:
    """Return one page of what a stored response was asked.

    Raises:
        ResponseNotFound: The caller has none of that id.
        InvalidRequest: `after` is no item of it.
    """
    return await services.store.responses.input_page(
        response_id, project_id=caller.project_id, limit=limit, order=order, after=after
    )


async def count_input_tokens(
    services: Services, caller: Caller, request: CountRequest
) -> InputTokens:
    """Return how many tokens a model would be asked, as its own engine counts them.

    Raises:
        ApiError: As `prepare` and `complete`.
    """
    _, messages = await _conversation(services, caller, request)
    # The engine tells the count with an answer, so the shortest is asked for, and nothing that shapes one.
    chat = to_chat(request, messages).model_copy(
        update={"max_completion_tokens": 1, "response_format": None}
    )
    if chat.tool_choice != "none":
        chat = chat.model_copy(update={"tool_choice": None})
    question = await inference.prepare(services, caller, chat)
    completion = await inference.complete(services, question)
    return InputTokens(input_tokens=completion.usage.prompt_tokens)


async def compact(services: Services, caller: Caller, request: CompactRequest) -> CompactedResponse:
    """Make a conversation short: the model asked summarises it.

    Raises:
        ApiError: As `prepare` and `complete`.
    """
    _, messages = await _conversation(services, caller, request)
    question = await inference.prepare(
        services, caller, plain_chat(request, [*messages, SUMMARISE])
    )
    completion = await inference.complete(services, question)
    return CompactedResponse(
        id=new_hex_id("resp_"),
        created_at=int(time.time()),
        output=[pack(messages, completion.choices[0].message.content or "")],
        usage=counted(completion.usage),
    )


async def delete_expired(services: Services, *, now: int) -> None:
    """Delete what was kept longer than the operator wants; safe in several workers at once."""
    lifetime = services.settings.stored_seconds
    while lifetime and await services.store.responses.delete_older(than=now - lifetime):
        pass


async def _conversation(
    services: Services, caller: Caller, request: Conversation
) -> tuple[list[Item], list[Message]]:
    """Return what the request adds, and all that is said with it."""
    if request.input is None and request.previous_response_id is None:
        raise InvalidRequest(
            "Missing required parameter: 'input'. Give it, or 'previous_response_id'.",
            param="input",
            code="missing_required_parameter",
        )
    records, project_id = services.store.responses, caller.project_id
    stored = await records.items(referenced_ids(request.input), project_id=project_id)
    asked = items_of(request.input, stored=stored)
    before: list[Item] = []
    if request.previous_response_id is not None:
        before = await records.conversation(request.previous_response_id, project_id=project_id)
    messages = messages_of([*before, *asked])
    if not messages:
        raise InvalidRequest("Invalid 'input': it says nothing to the model.", param="input")
    return asked, messages


async def _keep(services: Services, turn: Turn, response: Response) -> None:
    if response.store:
        await services.store.responses.add(response, turn.asked, project_id=turn.project_id)
