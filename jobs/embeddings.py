"""Asking a base that embeds for vectors, in OpenAI's shape: `/v1/embeddings`."""

import asyncio
from dataclasses import dataclass
from typing import Any

from jobs import models
from jobs.engines import ChatTarget
from jobs.inference import open_account
from jobs.keys import Caller
from jobs.metering import Account
from jobs.services import Services
from schemas.completions import Usage
from schemas.embeddings import EmbeddingList, EmbeddingRequest, EncodingFormat, to_upstream
from serving.embedding_answers import read_embeddings


@dataclass(frozen=True, slots=True)
class EmbeddingQuestion:
    """A checked request for vectors on its way to an engine."""

    target: ChatTarget
    body: dict[str, Any]
    """For the engine (`schemas.embeddings.to_upstream`), all but who shall answer."""
    encoding_format: EncodingFormat
    account: Account


async def prepare(
    services: Services, caller: Caller, request: EmbeddingRequest, *, batch: bool = False
) -> EmbeddingQuestion:
    """Return what to ask of whom; the caller's limits admit it.

    Args:
        services: Open.
        caller: Who asks.
        request: Checked.
        batch: See `jobs.inference.prepare`.

    Raises:
        NotFound: Nobody the caller may ask answers to that name.
        Forbidden: The model of that name makes text, not vectors.
        RateLimited: The caller must wait.
    """
    target = await models.target(services, caller, request.model, task="embed")
    account = await open_account(
        services,
        caller,
        target,
        tokens=request.estimated_tokens,
        kind="embeddings",
        batch=batch,
    )
    return EmbeddingQuestion(
        target=target,
        body=to_upstream(request, cache_salt=target.cache_salt),
        encoding_format=request.encoding_format or "float",
        account=account,
    )


async def embed(services: Services, question: EmbeddingQuestion) -> EmbeddingList:
    """Ask, and wait for the vectors.

    Raises:
        InvalidRequest: The engine refuses the request.
        ModelServerUnavailable: The engine is not there; the request may be sent again.
    """
    opened = services.engines.open_answer(question.target, question.body, route="/v1/embeddings")
    async with opened as answer:
        content = await answer.read()
    # Thousands of vectors are megabytes.
    vectors = await asyncio.to_thread(
        read_embeddings,
        content,
        model=question.target.public_name,
        encoding_format=question.encoding_format,
    )
    told = vectors.usage
    question.account.settle(Usage(prompt_tokens=told.prompt_tokens, total_tokens=told.total_tokens))
    return vectors
