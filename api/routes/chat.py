"""`/v1/chat/completions`."""

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from api.bodies import CHAT_BYTES, ApiRequest, parse_body
from api.relay import Relay
from jobs import inference
from jobs.keys import Caller
from jobs.services import Services
from schemas.chat import ChatRequest


@post("/chat/completions", status_code=200)
async def complete(
    request: ApiRequest, services: NamedDependency[Services], caller: NamedDependency[Caller]
) -> ASGIApp:
    """Answer as the engine does, whole or as a stream."""
    chat = await parse_body(request, ChatRequest, limit=CHAT_BYTES)
    return Relay(services, await inference.prepare(services, caller, chat))
