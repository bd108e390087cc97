"""Asking a model to continue text, in OpenAI's shape: `/v1/completions`."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from jobs import models
from jobs.engines import ChatTarget
from jobs.inference import counted, open_account
from jobs.keys import Caller
from jobs.metering import Account
from jobs.services import Services
from schemas.ids import new_id
from schemas.text_completions import TextCompletion, TextRequest, to_upstream
from serving.text_answers import TextEnvelope, read_text_completion, rewrite_text_event
from serving.vllm import Answer, Route

_ROUTE: Final[Route] = "/v1/completions"


@dataclass(frozen=True, slots=True)
class TextQuestion:
    """A checked request for text on its way to an engine."""

    target: ChatTarget
    body: dict[str, Any]
    """For the engine (`schemas.text_completions.to_upstream`), all but who shall answer."""
    envelope: TextEnvelope
    account: Account

    @property
    def streams(self) -> bool:
        """Whether the answer comes event by event."""
        return bool(self.body.get("stream"))


async def prepare(
    services: Services, caller: Caller, request: TextRequest, *, batch: bool = False
) -> TextQuestion:
    """Return what to ask of whom; the caller's limits admit it.

    Args:
        services: Open.
        caller: Who asks.
        request: Checked.
        batch: See `jobs.inference.prepare`.

    Raises:
        NotFound: Nobody the caller may ask answers to that name.
        RateLimited: The caller must wait.
    """
    target = await models.target(services, caller, request.model)
    account = await open_account(
        services, caller, target, tokens=request.estimated_tokens, batch=batch
    )
    return TextQuestion(
        target=target,
        body=to_upstream(request, cache_salt=target.cache_salt),
        envelope=TextEnvelope(
            id=new_id("cmpl-"),
            model=target.public_name,
            system_fingerprint=target.fingerprint,
            include_usage=request.includes_usage,
            n=request.n or 1,
            candidates=request.candidates,
            has_logprobs=request.logprobs is not None,
            only_echoes=request.max_tokens == 0,
        ),
        account=account,
    )


async def complete(services: Services, question: TextQuestion) -> TextCompletion:
    """Ask, and wait for the whole answer; the question must not stream.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; the request may be sent again.
    """
    opened = services.engines.open_answer(question.target, question.body, route=_ROUTE)
    async with opened as answer:
        completion = read_text_completion(await answer.read(), question.envelope)
    question.account.settle(completion.usage)
    return completion


@asynccontextmanager
async def open_events(
    services: Services, question: TextQuestion
) -> AsyncGenerator[AsyncIterator[bytes]]:
    """Ask, and yield the answer as the server-sent events that the client is to see.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; iterating raises it where the stream breaks off.
    """
    opened = services.engines.open_answer(question.target, question.body, route=_ROUTE)
    async with opened as answer, aclosing(_events(question, answer)) as events:
        yield events


async def _events(question: TextQuestion, answer: Answer) -> AsyncGenerator[bytes]:
    async with aclosing(counted(answer, question.account)) as events:
        async for event in events:
            if content := rewrite_text_event(event, question.envelope):
                yield content
