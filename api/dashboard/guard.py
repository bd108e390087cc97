"""Who may see a page, and whose form is obeyed: nothing but the public paths answers without a session.

The dashboard knows only its cookie, the API only keys: neither opens the other.
"""

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from litestar.datastructures import Cookie, Headers
from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPRequestEvent,
    HTTPScope,
    Message,
    Receive,
    ReceiveMessage,
    Scope,
    Send,
)

from api.bodies import ApiRequest, ClientGone, body_chunks
from jobs.sessions import MAX_SECONDS, Sessions, SignedIn
from schemas.errors import ApiError, InvalidRequest

SIGN_IN: Final = "/ui/sign-in"
CSRF_FIELD: Final = "csrf_token"
CSRF_HEADER: Final = "x-csrf-token"
FORM_BYTES: Final = 256 * 1024

_PUBLIC: Final = (SIGN_IN, "/ui/preferences", "/ui/static/")
_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
_FORM: Final = "application/x-www-form-urlencoded"
_MULTIPART: Final = "multipart/form-data"
_TOKEN_PART: Final = re.compile(
    rb"(?P<boundary>--[\x21-\x7e ]{1,200})\r\n"
    rb'content-disposition: form-data; name="csrf_token"\r\n\r\n'
    rb"(?P<token>[0-9a-f]{64})\r\n(?=(?P=boundary))",
    re.IGNORECASE,
)
"""How a form with a file begins; that `hidden()` stands first in such a form makes browsers write it so."""
_TOKEN_PART_BYTES: Final = 1024
"""Within which it must have ended: more is never held in memory."""
_HEADERS: Final = {
    b"content-security-policy": (
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        b"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # Not `no-referrer`: with it browsers send `Origin: null` with a form of our own.
    b"referrer-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
}


class SignInNeeded(Exception):
    """The page is for people who are signed in."""


class Refused(ApiError):
    """A form or call that no page of ours sent."""

    status = 403


def signed_in_of(request: ApiRequest) -> SignedIn:
    """Return the session of a request that is not for a public path."""
    found: SignedIn = request.scope["state"]["signed_in"]
    return found


def find_signed_in(request: ApiRequest) -> SignedIn | None:
    """Return the session of a request, where it has one."""
    return request.scope["state"].get("signed_in")


def form_of(request: ApiRequest) -> Mapping[str, str]:
    """Return the fields of a form; of a repeated one the last. They were seen to come from a page of ours."""
    fields: Mapping[str, str] = request.scope["state"].get("form", {})
    return fields


def session_cookie(scope: Scope, signed_in: SignedIn) -> Cookie:
    """Return the cookie that opens the dashboard until the browser or the session ends."""
    return Cookie(
        key=_cookie_name(scope),
        value=signed_in.secret,
        max_age=MAX_SECONDS,
        path="/",
        secure=_is_https(scope),
        httponly=True,
        samesite="strict",
    )


def ended_cookie(scope: Scope) -> Cookie:
    """Return what makes a browser forget the cookie."""
    name = _cookie_name(scope)
    return Cookie(key=name, value="", max_age=0, path="/", secure=_is_https(scope), httponly=True)


class SessionRequired:
    """Lets a request pass when it is signed in, and when what it would change was asked for by a page of ours.

    Args:
        app: The pages.
        sessions: Of the process, once it has begun.
    """

    def __init__(self, app: ASGIApp, sessions: Callable[[], Sessions]) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the pages.

        Raises:
            SignInNeeded: There is no session, or it is over.
            Refused: A change that another site asks for, or without the page's token.
        """
        assert scope["type"] == ScopeType.HTTP
        state = scope.setdefault("state", {})
        headers = Headers.from_scope(scope)
        signed_in = await self._find(scope, headers)
        if signed_in is not None:
            state["signed_in"] = signed_in
            scope["user"] = signed_in.caller
        elif not scope["path"].startswith(_PUBLIC):
            raise SignInNeeded
        if scope["method"] not in _SAFE_METHODS:
            _refuse_other_sites(headers)
            receive = await _check_token(scope, receive, headers, signed_in)
        await self._app(scope, receive, send)

    async def _find(self, scope: HTTPScope, headers: Headers) -> SignedIn | None:
        secret = read_cookies(headers).get(_cookie_name(scope))
        return await self._sessions().find(secret) if secret else None


def with_page_headers(app: ASGIApp) -> ASGIApp:
    """Give each response the headers that keep a page to itself."""

    async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                added = dict(_HEADERS)
                if b"cache-control" not in present:
                    added[b"cache-control"] = b"no-store"
                message["headers"] = [*message["headers"], *added.items()]
            await send(message)

        await app(scope, receive, with_headers)

    return guarded


def read_cookies(headers: Headers) -> dict[str, str]:
    """Return the cookies of a request; the first of a repeated name, as browsers order them."""
    cookies: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        cookies.setdefault(name, value)
    return cookies


def _refuse_other_sites(headers: Headers) -> None:
    """Check that a page of this very origin asks.

    Raises:
        Refused: It is another's, or the browser does not say.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        is_ours = site == "same-origin"
    else:
        is_ours = urlsplit(headers.get("origin", "")).netloc == headers.get("host", "?")
    if not is_ours:
        raise Refused("This was not asked for by a page of this server. Open the dashboard itself.")


async def _check_token(
    scope: HTTPScope, receive: Receive, headers: Headers, signed_in: SignedIn | None
) -> Receive:
    """Check that a header, or else the form, carries the session's token.

    A plain form is read whole. Of one with a file only the beginning is: the file may be of any size, and
    nothing may see a byte of it before the token was seen.

    Returns:
        What is left to read.

    Raises:
        Refused: It does not.
        ApiError: The form is too large, or is none.
    """
    token = headers.get(CSRF_HEADER, "")
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _FORM:
        body = b"".join([chunk async for chunk in body_chunks(receive, limit=FORM_BYTES)])
        fields = _parse_form(body)
        scope["state"]["form"] = fields
        token = token or fields.get(CSRF_FIELD, "")
    elif media_type == _MULTIPART and signed_in:
        sent, receive = await _take_token_part(receive)
        token = token or sent
    # Who is not signed in has no token, and nothing that another site could misuse.
    if signed_in and not hmac.compare_digest(token.encode(), signed_in.csrf_token.encode()):
        raise Refused("This page is older than your session. Reload it and try again.")
    return receive


async def _take_token_part(receive: Receive) -> tuple[str, Receive]:
    """Return the token that a form with a file begins with, or "", and the form from there on.

    Raises:
        ClientGone: It ended before its end.
    """
    head = b""
    more = True
    found = None
    while found is None and more and len(head) < _TOKEN_PART_BYTES:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone("The client hung up.")
        head += message["body"]
        more = message["more_body"]
        found = _TOKEN_PART.match(head[:_TOKEN_PART_BYTES])
    token = found["token"].decode() if found else ""
    # Without its part: what reads the form refuses fields that it does not know.
    rest: HTTPRequestEvent = {
        "type": "http.request",
        "body": head[found.end() if found else 0 :],
        "more_body": more,
    }
    unread = [rest]

    async def receive_rest() -> ReceiveMessage:
        return unread.pop() if unread else await receive()

    return token, receive_rest


def _parse_form(body: bytes) -> dict[str, str]:
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, errors="strict"))
    except ValueError as exc:
        raise InvalidRequest("The form could not be read: it is not UTF-8 text.") from exc


def _cookie_name(scope: Scope) -> str:
    # The prefix makes browsers insist on https, this very host and all of its paths.
    return "__Host-retune_session" if _is_https(scope) else "retune_session"


def _is_https(scope: Scope) -> bool:
    return scope.get("scheme") == "https"
