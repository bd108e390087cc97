"""Who may call: nothing but the public paths answers without a key."""

from collections.abc import Awaitable, Callable
from typing import Final

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from api.openapi.operations import FAMILIES
from jobs.keys import Caller
from schemas.errors import Unauthorized

PUBLIC_PATHS: Final = frozenset(
    {b"/", b"/health", b"/ready", b"/openapi.json", b"/reference", b"/reference/style.css"}
    | {f"/reference/{family.slug}".encode() for family in FAMILIES}
)
"""They hold no secret, and are the same for everybody."""

_NO_KEY: Final = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header "
    "using Bearer auth (i.e. Authorization: Bearer YOUR_KEY). `retune keys create` makes a key."
)

Authenticate = Callable[[str], Awaitable[Caller]]
"""Returns whose key it is, or raises Unauthorized."""


class KeyRequired:
    """Lets a request pass when its key is good, and says whose it is (`scope["user"]`).

    It judges by the path as it was sent: whatever a router would make of it, what is not exactly a
    public path needs a key.
    """

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self._app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the layers inside.

        Raises:
            Unauthorized: There is no key, or not one of ours.
        """
        if scope["type"] == ScopeType.WEBSOCKET:
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        if scope["type"] == ScopeType.HTTP and scope["raw_path"] not in PUBLIC_PATHS:
            headers = Headers.from_scope(scope)
            if _is_preflight(scope, headers):
                await _allow_origin(headers, send)
                return
            caller = await self._authenticate(_key(headers))
            _check_named(headers, caller)
            scope["user"] = caller
        await self._app(scope, receive, send)


def _key(headers: Headers) -> str:
    """Return the key of `Authorization: Bearer`, or of Azure's `api-key`.

    Raises:
        Unauthorized: There is none, or more than one.
    """
    keys = {value.strip() for value in headers.getall("api-key", [])}
    for value in headers.getall("authorization", []):
        scheme, _, credentials = value.strip().partition(" ")
        keys.add(credentials.strip() if scheme.lower() == "bearer" else value.strip())
    if len(keys) > 1:
        raise Unauthorized("You provided more than one API key. Send one.", code="invalid_api_key")
    if not any(keys):
        raise Unauthorized(_NO_KEY)
    return keys.pop()


def _check_named(headers: Headers, caller: Caller) -> None:
    """Refuse a key of another organization or project than the request says it means.

    Raises:
        Unauthorized: They differ; in OpenAI's words.
    """
    organization = headers.get("openai-organization")
    if organization and organization != caller.organization_id:
        raise Unauthorized(
            "OpenAI-Organization header should match organization for API key",
            code="mismatched_organization",
        )
    project = headers.get("openai-project")
    if project and project != caller.project_id and not caller.is_admin:
        raise Unauthorized(
            "OpenAI-Project header should match project for API key", code="mismatched_project"
        )


def _is_preflight(scope: Scope, headers: Headers) -> bool:
    """Whether a browser asks, before it sends a key, if a page of another origin may send one."""
    return scope.get("method") == "OPTIONS" and "access-control-request-method" in headers


async def _allow_origin(headers: Headers, send: Send) -> None:
    asked = headers.get("access-control-request-headers", "authorization, content-type")
    allowed = [
        (b"access-control-allow-origin", b"*"),
        (b"access-control-allow-methods", b"GET, POST, DELETE"),
        (b"access-control-allow-headers", asked.encode("latin-1")),
        (b"access-control-max-age", b"86400"),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": allowed})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
