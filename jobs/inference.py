"""Asking a model for chat completions in OpenAI's shape: what routes, batches and graders share."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from jobs import models, stored_completions
from jobs.engines import ChatTarget
from jobs.keys import Caller
from jobs.metering import Account
from jobs.services import Services
from jobs.stored_completions import Draft
from schemas.chat import ChatRequest, to_upstream
from schemas.completions import ChatCompletion, Chunk, Usage
from schemas.ids import new_id
from schemas.usage import UsageKind
from serving.answers import (
    DONE,
    Envelope,
    encode_event,
    read_completion,
    read_event,
    read_usage,
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
    account: Account
    draft: Draft | None = None
    """What to keep together with the answer; None: nothing is kept."""

    @property
    def streams(self) -> bool:
        """Whether the answer comes event by event."""
        return bool(self.body.get("stream"))


async def prepare(
    services: Services,
    caller: Caller,
    chat: ChatRequest,
    *,
    request_id: str | None = None,
    batch: bool = False,
) -> Question:
    """Return what to ask of whom; the caller's limits admit it.

    Args:
        services: Open.
        caller: Who asks.
        chat: Checked.
        request_id: Of the HTTP request, where there is one; kept with an answer that is kept.
        batch: Whether a batch asks: it is counted apart, and has limits of its own.

    Raises:
        NotFound: Nobody the caller may ask answers to that name.
        RateLimited: The caller must wait.
    """
    target = await models.target(services, caller, chat.model)
    account = await open_account(
        services, caller, target, tokens=chat.estimated_tokens, batch=batch
    )
    body = to_upstream(chat, cache_salt=target.cache_salt)
    draft = Draft(chat, caller.project_id, request_id) if chat.store else None
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
        account=account,
        draft=draft,
    )


async def open_account(
    services: Services,
    caller: Caller,
    target: ChatTarget,
    *,
    tokens: Callable[[], int],
    kind: UsageKind = "completions",
    batch: bool = False,
) -> Account:
    """Return on whom an answer is counted; the caller's limits admit the request.

    Args:
        services: Open.
        caller: Who asks.
        target: Who is asked.
        tokens: Guesses how many it will take; asked only where tokens are limited.
        kind: What is asked for.
        batch: See `prepare`.

    Raises:
        RateLimited: The caller must wait.
    """
    allowance = None
    if not batch:
        allowance = await services.limiter.admit(caller, target.base.name, tokens=tokens)
    return Account(
        services.meter, caller, target.public_name, kind=kind, batch=batch, allowance=allowance
    )


async def complete(services: Services, question: Question) -> ChatCompletion:
    """Ask, and wait for the whole answer; the question must not stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; the request may be sent again.
    """
    async with services.engines.open_answer(question.target, question.body) as answer:
        completion = read_completion(await answer.read(), question.envelope)
    question.account.settle(completion.usage)
    if question.draft is not None:
        await stored_completions.keep(services, question.draft, completion)
    return completion


async def stream(services: Services, question: Question) -> AsyncGenerator[Chunk]:
    """Ask, and yield the answer chunk by chunk; the question must stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there, or the stream broke off.
    """
    async with (
        services.engines.open_answer(question.target, question.body) as answer,
        aclosing(_chunks(services, question, answer)) as chunks,
    ):
        async for chunk in chunks:
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


async def counted(answer: Answer, account: Account) -> AsyncGenerator[bytes]:
    """Yield a streamed answer's events as they are, and count what it took.

    Where the client hangs up before the engine has told, each event counts as a token.
    """
    n_events, usage = 0, None
    try:
        async for event in answer.events():
            n_events += 1
            usage = read_usage(event) or usage
            yield event
    finally:
        account.settle(
            usage or Usage(prompt_tokens=0, completion_tokens=n_events, total_tokens=n_events)
        )


async def _events(services: Services, question: Question, answer: Answer) -> AsyncGenerator[bytes]:
    if question.draft is None:
        async with aclosing(counted(answer, question.account)) as events:
            async for event in events:
                if content := rewrite_event(event, question.envelope):
                    yield content
        return
    async with aclosing(_chunks(services, question, answer)) as chunks:
        async for chunk in chunks:
            yield encode_event(chunk)
    yield DONE


async def _chunks(services: Services, question: Question, answer: Answer) -> AsyncGenerator[Chunk]:
    """Yield what the client is to see; what is kept is there before the last of it has been asked for."""
    async with aclosing(counted(answer, question.account)) as events:
        if question.draft is None:
            async for event in events:
                for chunk in read_event(event, question.envelope):
                    yield chunk
            return
        assembly = Assembly()
        with_usage = question.envelope.model_copy(update={"include_usage": True})
        async for event in events:
            for chunk in read_event(event, with_usage):
                assembly.add(chunk)
                told = chunk if question.envelope.include_usage else without_usage(chunk)
                if told is not None:
                    yield told
    if completion := assembly.finish():
        await stored_completions.keep(services, question.draft, completion)
