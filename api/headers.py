"""What every response carries: its request's id, how long it took, and OpenAI's other headers."""

import time
from typing import Final

from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from api.bodies import ApiRequest
from jobs.metering import Account
from schemas.ids import new_hex_id

_ACCOUNT: Final = "account"


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
                headers = MutableScopeHeaders.from_message(message)
                headers["x-request-id"] = request_id
                headers["openai-version"] = "2020-10-01"
                headers["openai-processing-ms"] = str(round((time.perf_counter() - started) * 1000))
                headers["x-content-type-options"] = "nosniff"
                if account := scope["state"].get(_ACCOUNT):
                    for name, value in account.limit_headers().items():
                        headers[name] = value
                if caller := scope.get("user"):
                    headers["openai-organization"] = caller.organization_id
                    # A page of any origin may ask: what it needs is the key, never a cookie.
                    headers["access-control-allow-origin"] = "*"
                    headers["access-control-expose-headers"] = "x-request-id"
            await send(message)

        await self._app(scope, receive, with_headers)
