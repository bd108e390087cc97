"""`/openai/deployments/{model}/…`: where Azure's clients say in the path whom they ask."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from litestar import post
from litestar.di import NamedDependency
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.types import ASGIApp
from pydantic import BaseModel

from api.bodies import CHAT_BYTES, ApiRequest, parse_body
from api.routes.chat import answer_chat
from api.routes.completions import answer_text
from api.routes.embeddings import answer_embeddings
from jobs.keys import Caller
from jobs.services import Services
from schemas.chat import ChatRequest
from schemas.embeddings import EmbeddingRequest
from schemas.text_completions import TextRequest

_ANSWERS: Final[Mapping[str, tuple[type[BaseModel], Callable[..., Awaitable[ASGIApp]]]]] = {
    "/chat/completions": (ChatRequest, answer_chat),
    "/completions": (TextRequest, answer_text),
    "/embeddings": (EmbeddingRequest, answer_embeddings),
}
"""By the end of the path; the first that fits counts."""


@post("/deployments/{path:path}", status_code=200)
async def ask_deployment(
    path: FromPath[str],
    request: ApiRequest,
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> ASGIApp:
    """Answer; a deployment is a model, whose name may hold slashes, encoded or not."""
    ending = next((ending for ending in _ANSWERS if path.endswith(ending)), "")
    model = path.removesuffix(ending).removeprefix("/")
    if not ending or not model:
        raise NotFoundException
    request_model, answer = _ANSWERS[ending]
    asked = await parse_body(request, request_model, limit=CHAT_BYTES, decided={"model": model})
    return await answer(request, services, caller, asked)
