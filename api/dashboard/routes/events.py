"""`/ui/events`: tells a page that stays open that what it shows has changed; the page then asks for it again.

One stream for each page. It ends by itself every few seconds, and browsers open it again with the token of
what they have seen: a session that is over is noticed, and a server that stops need not wait for open pages.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.response import ServerSentEvent, ServerSentEventMessage

from api.bodies import ApiRequest
from jobs.changes import Changes
from jobs.keys import Caller
from jobs.services import Services
from schemas.base import Schema

_LOOK_EVERY: Final = 1.0
_STREAM_SECONDS: Final = 10.0
_REOPEN_MILLISECONDS: Final = 1000

Look = Callable[[], Awaitable[str]]
"""Returns a token that changes with what the page shows."""


class Watch(Schema):
    """What a page has seen."""

    since: str = ""
    """The token of what it shows."""


class WatchJobs(Watch):
    """What a page about jobs wants to be told of."""

    job: str | None = None
    """None: all jobs of the project."""


@get("/ui/events")
async def of_jobs(
    request: ApiRequest,
    params: NamedDependency[WatchJobs],
    services: NamedDependency[Services],
    caller: NamedDependency[Caller],
) -> ServerSentEvent:
    """Tell of changes as they come: of a job, or of all."""
    changes, project_id = services.store.job_changes, caller.project_id
    look: Look = partial(changes.of_project, project_id)
    if params.job is not None:
        look = partial(changes.of_job, params.job, project_id=project_id)
    return _stream(request, look, params)


@get("/ui/events/models")
async def of_models(
    request: ApiRequest,
    params: NamedDependency[Watch],
    changes: NamedDependency[Changes],
    caller: NamedDependency[Caller],
) -> ServerSentEvent:
    """Tell when the project's models or the engines are others."""
    return _stream(request, partial(changes.of_models, caller), params)


@get("/ui/events/system")
async def of_system(
    request: ApiRequest,
    params: NamedDependency[Watch],
    changes: NamedDependency[Changes],
) -> ServerSentEvent:
    """Tell when engines, queue or workers are others."""
    return _stream(request, changes.of_system, params)


def _stream(request: ApiRequest, look: Look, asked: Watch) -> ServerSentEvent:
    seen = request.headers.get("last-event-id") or asked.since
    # Litestar adds `x-accel-buffering: no`: nginx would gather events.
    return ServerSentEvent(_told(look, seen=seen))


async def _told(look: Look, *, seen: str) -> AsyncIterator[ServerSentEventMessage]:
    """Yield `changed` whenever there is another token, and `beat` at the beginning and the end."""
    # Each message carries the token, so that the next stream begins where this one ends.
    yield ServerSentEventMessage(event="beat", id=seen, retry=_REOPEN_MILLISECONDS)
    ends = time.monotonic() + _STREAM_SECONDS
    while time.monotonic() < ends:
        token = await look()
        if token != seen:
            seen = token
            yield ServerSentEventMessage(event="changed", id=seen)
        await asyncio.sleep(_LOOK_EVERY)
    yield ServerSentEventMessage(event="beat", id=seen)
