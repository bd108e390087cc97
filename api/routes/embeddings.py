"""`/v1/embeddings`."""

from functools import partial

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from api.bodies import CHAT_BYTES, ApiRequest
from api.headers import tell_limits
from api.relay import Relay
from jobs import embeddings
from jobs.keys import Caller
from jobs.services import Services
from schemas.embeddings import EmbeddingList, EmbeddingRequest


async def answer_embeddings(
    request: ApiRequest, services: Services, caller: Caller, asked: EmbeddingRequest
) -> ASGIApp:
    """Answer with vectors; see `api.routes.chat.answer_chat`."""
    question = await embeddings.prepare(services, caller, asked)
    tell_limits(request, question.account)
    return Relay(
        model=question.target.public_name,
        complete=partial(embeddings.embed, services, question),
        open_events=None,
    )


class Embeddings(Controller):
    """Turn text into vectors."""

    path = "/embeddings"

    @post(status_code=200, max_bytes=CHAT_BYTES, answer=EmbeddingList)
    async def create(
        self,
        request: ApiRequest,
        asked: NamedDependency[EmbeddingRequest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ASGIApp:
        return await answer_embeddings(request, services, caller, asked)
