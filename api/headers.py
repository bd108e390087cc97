"""What every response carries: its request's id, how long it took, and OpenAI's other headers."""

import time
from collections.abc import Iterator
from typing import Final

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from api.bodies import ApiRequest
from jobs.metering import Account
from schemas.ids import new_hex_id

_ACCOUNT: Final = "account"
_ALWAYS: Final = ((b"openai-version", b"2020-10-01"), (b"x-content-type-options", b"nosniff"))
_TO_PAGES: Final = (
    # A page of any origin may ask: what it needs is the key, never a cookie.
    (b"access-control-allow-origin", b"*"),
    (b"access-control-expose-headers", b"x-request-id"),
)


def tell_limits(request: ApiRequest, account: Account) -> None:
    """Let the response say what is left of the caller's limits, where there are any."""
    request.scope["state"][_ACCOUNT] = account


class HeadersAdded:
    """Gives each request an id (`scope["state"]["request_id"]`) and each response its headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the layers inside."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = new_hex_id("req_")
        scope.setdefault("state", {})["request_id"] = request_id

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                took = f"{(time.perf_counter() - started) * 1000:.0f}"
                message["headers"] = [*message["headers"], *_added(scope, request_id, took)]
            await send(message)

        await self._app(scope, receive, with_headers)


def _added(scope: HTTPScope, request_id: str, took: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield the headers; none of our routes sets one of these itself."""
    yield b"x-request-id", request_id.encode()
    yield b"openai-processing-ms", took.encode()
    yield from _ALWAYS
    if account := scope["state"].get(_ACCOUNT):
        for name, value in account.limit_headers().items():
            yield name.encode(), value.encode()
    if caller := scope.get("user"):
        yield b"openai-organization", caller.organization_id.encode()
        yield from _TO_PAGES
