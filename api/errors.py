"""Exceptions to responses: the only place that writes an error's body."""

import logging
from math import ceil
from typing import Final

from litestar import Response
from litestar.connection import Request
from litestar.datastructures import State
from litestar.enums import ScopeType
from litestar.exceptions import HTTPException, MethodNotAllowedException, NotFoundException
from litestar.types import ASGIApp, ExceptionHandlersMap, Message, Receive, Scope, Send

from schemas.errors import (
    ApiError,
    Conflict,
    ErrorBody,
    ErrorResponse,
    InvalidRequest,
    LimitReached,
    MethodNotAllowed,
    ModelServerUnavailable,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    StillAtWork,
)

logger = logging.getLogger(__name__)

_BROKEN: Final = "The server had an error while processing your request. Sorry about that!"


class ErrorsAnswered:
    """Answers what the layers inside raise before a response has begun; the process's outer edge."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the layers inside."""
        has_begun = False

        async def watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as exc:
            if has_begun or scope["type"] != ScopeType.HTTP:
                raise
            status, headers, body = _rendered(_translated(scope, exc))
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            raw += [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body, "more_body": False})


def _handle(request: Request[object, object, State], exc: Exception) -> Response[bytes]:
    status, headers, body = _rendered(_translated(request.scope, exc))
    return Response(body, status_code=status, headers=headers, media_type="application/json")


exception_handlers: Final[ExceptionHandlersMap] = {Exception: _handle, HTTPException: _handle}
"""For Litestar, which catches what its routes raise before `ErrorsAnswered` could."""


def _rendered(error: ApiError) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body."""
    headers = {}
    if isinstance(error, ModelServerUnavailable | StillAtWork):
        headers["retry-after"] = str(error.retry_after)
        headers["retry-after-ms"] = str(error.retry_after * 1000)
    if isinstance(error, RateLimited):
        headers |= error.headers
        headers["retry-after"] = str(ceil(error.retry_after))
        headers["retry-after-ms"] = str(ceil(error.retry_after * 1000))
    if isinstance(error, StillAtWork):
        headers["x-should-retry"] = "true"
    if isinstance(error, Conflict):
        headers["x-should-retry"] = "false"
    if isinstance(error, LimitReached):
        headers["x-should-retry"] = "false"  # or SDKs would ask twice more within seconds
    body = ErrorBody(message=error.message, type=error.type, param=error.param, code=error.code)
    return error.status, headers, ErrorResponse(error=body).model_dump_json().encode()


def _translated(scope: Scope, exc: Exception) -> ApiError:
    """Return what the client shall be told of `exc`; what is our fault goes to the log."""
    match exc:
        case ApiError():
            return exc
        case NotFoundException():
            return NotFound(f"Invalid URL ({_request_line(scope)})")
        case MethodNotAllowedException():
            methods = (exc.headers or {}).get("allow", "").split(", ")
            allowed = " and ".join(sorted(set(methods) - {"OPTIONS"}))
            return MethodNotAllowed(
                f"Only {allowed} requests are accepted.", code="method_not_supported"
            )
        case HTTPException(status_code=413):
            return PayloadTooLarge("The request body is too large.")
        case HTTPException(status_code=status) if status < 500:
            return InvalidRequest(exc.detail)
        case _:
            request_id = scope["state"].get("request_id")
            logger.error("%s failed (%s)", _request_line(scope), request_id, exc_info=exc)
            return ApiError(_BROKEN)


def _request_line(scope: Scope) -> str:
    method = scope.get("method", "")
    path = scope.get("raw_path", b"").decode("latin-1")
    return f"{method} {path[:200]}"
