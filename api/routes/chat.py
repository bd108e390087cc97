"""`/v1/chat/completions`."""

import hashlib

from litestar import post
from litestar.di import NamedDependency
from litestar.types import ASGIApp

from api.bodies import CHAT_BYTES, ApiRequest, parse_body
from api.relay import Relay
from jobs import models
from jobs.engines import ChatTarget
from jobs.keys import Caller
from jobs.services import Services
from schemas.chat import ChatRequest, to_upstream
from schemas.ids import new_id
from serving.answers import Envelope, fingerprint_of


@post("/chat/completions", status_code=200)
async def complete(
    request: ApiRequest, services: NamedDependency[Services], caller: NamedDependency[Caller]
) -> ASGIApp:
    """Answer as the engine does, whole or as a stream."""
    chat = await parse_body(request, ChatRequest, limit=CHAT_BYTES)
    target = await models.target(services, caller, chat.model)
    salt = hashlib.sha256(caller.project_id.encode()).hexdigest()
    return Relay(
        services.engines,
        target,
        to_upstream(chat, cache_salt=salt),
        _envelope(chat, target),
    )


def _envelope(chat: ChatRequest, target: ChatTarget) -> Envelope:
    adapter = target.adapter.id if target.adapter else ""
    return Envelope(
        id=new_id("chatcmpl-"),
        model=target.public_name,
        system_fingerprint=fingerprint_of(target.base.digest, adapter),
        include_usage=chat.includes_usage,
    )
