"""Asking a model for chat completions in OpenAI's shape: what routes, batches and graders share."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jobs import models, stored_completions
from jobs.engines import ChatTarget
from jobs.keys import Caller
from jobs.services import Services
from jobs.stored_completions import Draft
from schemas.chat import ChatRequest, to_upstream
from schemas.completions import ChatCompletion, Chunk
from schemas.ids import new_id
from serving.answers import (
    DONE,
    Envelope,
    encode_event,
    read_completion,
    read_event,
    rewrite_event,
    without_usage,
)
from serving.assembly import Assembly
from serving.vllm import Answer


@dataclass(frozen=True, slots=True)
class Question:
    """A checked chat request on its way to an engine."""

    target: ChatTarget
    body: dict[str, Any]
    """For the engine (`schemas.chat.to_upstream`), all but who shall answer."""
    envelope: Envelope
    draft: Draft | None = None
    """What to keep together with the answer; None: nothing is kept."""

    @property
    def streams(self) -> bool:
        """Whether the answer comes event by event."""
        return bool(self.body.get("stream"))


async def prepare(
    services: Services, caller: Caller, chat: ChatRequest, *, request_id: str | None = None
) -> Question:
    """Return what to ask of whom.

    Args:
        services: Open.
        caller: Who asks.
        chat: Checked.
        request_id: Of the HTTP request, where there is one; kept with an answer that is kept.

    Raises:
        NotFound: Nobody the caller may ask answers to that name.
    """
    target = await models.target(services, caller, chat.model)
    body = to_upstream(chat, cache_salt=target.cache_salt)
    draft = Draft(chat, caller.project_id, request_id) if chat.store else None
    if draft is not None and chat.stream:
        body["stream_options"] = {"include_usage": True}  # kept answers tell it, asked for or not
    return Question(
        target=target,
        body=body,
        envelope=Envelope(
            id=new_id("chatcmpl-"),
            model=target.public_name,
            system_fingerprint=target.fingerprint,
            include_usage=chat.includes_usage,
            calls_functions=chat.calls_functions,
        ),
        draft=draft,
    )


async def complete(services: Services, question: Question) -> ChatCompletion:
    """Ask, and wait for the whole answer; the question must not stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; the request may be sent again.
    """
    async with services.engines.open_answer(question.target, question.body) as answer:
        completion = read_completion(await answer.read(), question.envelope)
    if question.draft is not None:
        await stored_completions.keep(services, question.draft, completion)
    return completion


async def stream(services: Services, question: Question) -> AsyncGenerator[Chunk]:
    """Ask, and yield the answer chunk by chunk; the question must stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there, or the stream broke off.
    """
    async with services.engines.open_answer(question.target, question.body) as answer:
        async for chunk in _chunks(services, question, answer):
            yield chunk


@asynccontextmanager
async def open_events(
    services: Services, question: Question
) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Ask, and yield the answer as the server-sent events that the client is to see.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; iterating raises it where the stream breaks off.
    """
    async with (
        services.engines.open_answer(question.target, question.body) as answer,
        aclosing(_events(services, question, answer)) as events,
    ):
        yield events


async def _events(services: Services, question: Question, answer: Answer) -> AsyncGenerator[bytes]:
    if question.draft is None:
        async for event in answer.events():
            if content := rewrite_event(event, question.envelope):
                yield content
        return
    async for chunk in _chunks(services, question, answer):
        yield encode_event(chunk)
    yield DONE


async def _chunks(services: Services, question: Question, answer: Answer) -> AsyncGenerator[Chunk]:
    """Yield what the client is to see; what is kept is there before the last of it has been asked for."""
    if question.draft is None:
        async for event in answer.events():
            for chunk in read_event(event, question.envelope):
                yield chunk
        return
    assembly = Assembly()
    with_usage = question.envelope.model_copy(update={"include_usage": True})
    async for event in answer.events():
        for chunk in read_event(event, with_usage):
            assembly.add(chunk)
            told = chunk if question.envelope.include_usage else without_usage(chunk)
            if told is not None:
                yield told
    if completion := assembly.finish():
        await stored_completions.keep(services, question.draft, completion)
