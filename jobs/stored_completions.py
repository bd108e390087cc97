"""What a user can do with chat completions that were kept, and how one is kept."""

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from jobs.keys import Caller
from jobs.services import Services
from jobs.store.paging import Order
from schemas.base import CursorPage
from schemas.chat import ChatRequest
from schemas.completions import ChatCompletion
from schemas.errors import ApiError, InvalidRequest
from schemas.stored_completions import (
    CompletionDeleted,
    StoredCompletion,
    StoredMessage,
    stored_messages,
)

logger = logging.getLogger(__name__)

_PATIENCE: Final = 5.0
"""Seconds that the end of an answer waits for the database; then the answer is not kept."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What is kept together with an answer, once there is one."""

    request: ChatRequest
    project_id: str
    request_id: str | None


async def keep(services: Services, draft: Draft, completion: ChatCompletion) -> None:
    """Keep an answer before its end is told, so that whoever heard the end finds it.

    The answer matters more than its record: where the database fails or is slow, this is logged, not raised.
    """
    stored = StoredCompletion.of(completion, draft.request, request_id=draft.request_id)
    messages = stored_messages(stored.id, draft.request)
    try:
        async with asyncio.timeout(_PATIENCE):
            await services.store.chat_completions.add(stored, messages, project_id=draft.project_id)
    except (ApiError, TimeoutError):
        logger.exception("The chat completion %s was not kept", stored.id)


async def list_completions(
    services: Services,
    caller: Caller,
    *,
    model: str | None,
    metadata: dict[str, str] | None,
    limit: int,
    after: str | None,
    order: Order,
) -> CursorPage[StoredCompletion]:
    """Return one page of the caller's kept answers; a model's alias finds those of the model.

    Raises:
        InvalidRequest: `after` is no kept answer of the caller's.
    """
    return await services.store.chat_completions.page(
        project_id=caller.project_id,
        model=None if model is None else services.catalog.resolve(model),
        metadata=metadata,
        limit=limit,
        after=after,
        order=order,
    )


async def get(services: Services, caller: Caller, completion_id: str) -> StoredCompletion:
    """Return a kept answer of the caller's.

    Raises:
        CompletionNotFound: There is none of that id.
    """
    return await services.store.chat_completions.get(completion_id, project_id=caller.project_id)


async def update(
    services: Services, caller: Caller, completion_id: str, *, metadata: dict[str, str] | None
) -> StoredCompletion:
    """Give a kept answer other metadata.

    Raises:
        CompletionNotFound: There is none of that id.
    """
    return await services.store.chat_completions.set_metadata(
        completion_id, metadata or {}, project_id=caller.project_id
    )


async def delete(services: Services, caller: Caller, completion_id: str) -> CompletionDeleted:
    """Forget a kept answer.

    Raises:
        CompletionNotFound: There is none of that id.
    """
    await services.store.chat_completions.delete(completion_id, project_id=caller.project_id)
    return CompletionDeleted(id=completion_id)


async def list_messages(
    services: Services,
    caller: Caller,
    completion_id: str,
    *,
    limit: int,
    after: str | None,
    order: Order,
) -> CursorPage[StoredMessage]:
    """Return one page of the messages that a kept answer was given to.

    Raises:
        CompletionNotFound: There is none of that id.
        InvalidRequest: `after` is none of its messages.
    """
    messages = await services.store.chat_completions.messages(
        completion_id, project_id=caller.project_id
    )
    if order == "desc":
        messages.reverse()
    start = 0
    if after is not None:
        start = 1 + _place(messages, after)
    data = messages[start : start + limit]
    return CursorPage(
        data=data,
        has_more=start + limit < len(messages),
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )


async def delete_expired(services: Services, *, now: int) -> None:
    """Delete what was kept longer than the operator wants; safe in several workers at once."""
    lifetime = services.settings.stored_seconds
    while lifetime and await services.store.chat_completions.delete_older(than=now - lifetime):
        pass


def _place(messages: list[StoredMessage], message_id: str) -> int:
    for place, message in enumerate(messages):
        if message.id == message_id:
            return place
    raise InvalidRequest(
        f"There is no object with id '{message_id}' to go on after.", param="after"
    )
