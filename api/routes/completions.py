"""`/v1/completions`: text that goes on where a prompt ends, without a chat template."""

from functools import partial

from litestar import Controller, post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from api.bodies import CHAT_BYTES, ApiRequest
from api.headers import tell_limits
from api.relay import Relay
from jobs import text_completions
from jobs.keys import Caller
from jobs.services import Services
from schemas.text_completions import TextChunk, TextChunkWithUsage, TextCompletion, TextRequest


async def answer_text(
    request: ApiRequest, services: Services, caller: Caller, asked: TextRequest
) -> ASGIApp:
    """Answer as the engine does, whole or as a stream; see `api.routes.chat.answer_chat`."""
    question = await text_completions.prepare(services, caller, asked)
    tell_limits(request, question.account)
    return Relay(
        model=question.envelope.model,
        complete=partial(text_completions.complete, services, question),
        open_events=partial(text_completions.open_events, services, question)
        if question.streams
        else None,
    )


class TextCompletions(Controller):
    """Ask a model to continue text."""

    path = "/completions"

    @post(
        status_code=200,
        max_bytes=CHAT_BYTES,
        answer=TextCompletion,
        events=TextChunkWithUsage | TextChunk,
    )
    async def create(
        self,
        request: ApiRequest,
        asked: NamedDependency[TextRequest],
        services: NamedDependency[Services],
        caller: NamedDependency[Caller],
    ) -> ASGIApp:
        return await answer_text(request, services, caller, asked)
