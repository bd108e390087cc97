"""Asking a model in OpenAI's shape: what routes, batches and graders share."""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

from jobs import models
from jobs.engines import ChatTarget
from jobs.keys import Caller
from jobs.services import Services
from schemas.chat import ChatRequest, to_upstream
from schemas.completions import ChatCompletion, Chunk
from schemas.ids import new_id
from serving.answers import Envelope, fingerprint_of, read_completion, read_event


@dataclass(frozen=True, slots=True)
class Question:
    """A checked chat request on its way to an engine."""

    target: ChatTarget
    body: dict[str, Any]
    """For the engine (`schemas.chat.to_upstream`), all but who shall answer."""
    envelope: Envelope

    @property
    def streams(self) -> bool:
        """Whether the answer comes event by event."""
        return bool(self.body.get("stream"))


async def prepare(services: Services, caller: Caller, chat: ChatRequest) -> Question:
    """Return what to ask of whom.

    Raises:
        NotFound: Nobody the caller may ask answers to that name.
    """
    target = await models.target(services, caller, chat.model)
    adapter = target.adapter.id if target.adapter else ""
    return Question(
        target=target,
        body=to_upstream(chat, cache_salt=hashlib.sha256(caller.project_id.encode()).hexdigest()),
        envelope=Envelope(
            id=new_id("chatcmpl-"),
            model=target.public_name,
            system_fingerprint=fingerprint_of(target.base.digest, adapter),
            include_usage=chat.includes_usage,
            calls_functions=chat.calls_functions,
        ),
    )


async def complete(services: Services, question: Question) -> ChatCompletion:
    """Ask, and wait for the whole answer; the question must not stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; the request may be sent again.
    """
    async with services.engines.open_chat(question.target, question.body) as answer:
        return read_completion(await answer.read(), question.envelope)


async def stream(services: Services, question: Question) -> AsyncGenerator[Chunk]:
    """Ask, and yield the answer chunk by chunk; the question must stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there, or the stream broke off.
    """
    async with services.engines.open_chat(question.target, question.body) as answer:
        async for event in answer.events():
            for chunk in read_event(event, question.envelope):
                yield chunk
