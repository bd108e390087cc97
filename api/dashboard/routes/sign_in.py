"""`/ui/sign-in`, `/ui/sign-out`, `/ui/preferences`: the way in, the way out, and how one likes it."""

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from litestar import get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard.guard import (
    SIGN_IN,
    ended_cookie,
    find_signed_in,
    form_of,
    session_cookie,
    signed_in_of,
)
from api.dashboard.messages import LANGUAGES
from api.dashboard.pages import (
    LANGUAGE_COOKIE,
    SHORTCUTS_COOKIE,
    THEME_COOKIE,
    THEMES,
    Page,
    local_path,
    render,
)
from jobs.sessions import Sessions
from schemas.base import Schema
from schemas.errors import Unauthorized

_YEAR: Final = 365 * 24 * 3600


class Attempts:
    """How often somebody may try a key that is none.

    Args:
        most: Tries in a row that may fail.
        within: Seconds.
        clock: Monotonic.
    """

    def __init__(
        self, *, most: int = 10, within: float = 60, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = most
        self._within = within
        self._clock = clock
        self._failed: defaultdict[str, list[float]] = defaultdict(list)

    def wait(self, address: str) -> float:
        """Return for how many seconds an address has to wait; 0: it may try."""
        recent = self._recent(address)
        if len(recent) < self._most:
            return 0
        return recent[0] + self._within - self._clock()

    def fail(self, address: str) -> None:
        """Count a try that failed."""
        for other in list(self._failed):
            if not self._recent(other):
                del self._failed[other]
        self._failed[address] = [*self._recent(address), self._clock()]

    def _recent(self, address: str) -> list[float]:
        since = self._clock() - self._within
        return [failed for failed in self._failed.get(address, []) if failed > since]


_attempts: Final = Attempts()


class SignInQuery(Schema):
    """The query of the sign-in page."""

    next: str | None = None
    """Where to go then."""


@get(SIGN_IN)
async def form(request: ApiRequest, params: NamedDependency[SignInQuery]) -> Page | Redirect:
    """Ask for a key; whoever is signed in goes on."""
    if find_signed_in(request):
        return Redirect(local_path(params.next), status_code=303)
    return render(request, "sign_in.html", next=local_path(params.next), error=None, wait=0)


@post(SIGN_IN)
async def sign_in(request: ApiRequest, sessions: NamedDependency[Sessions]) -> Page | Redirect:
    """Sign in with a key; a session that the browser brought is ended, never gone on with."""
    fields = form_of(request)
    address = request.client.host if request.client else ""
    to = local_path(fields.get("next"))
    if wait := _attempts.wait(address):
        return render(
            request, "sign_in.html", status_code=429, next=to, error="too_many", wait=int(wait) + 1
        )
    if former := find_signed_in(request):
        await sessions.sign_out(former)
    try:
        signed_in = await sessions.sign_in(fields.get("key", "").strip())
    except Unauthorized:
        _attempts.fail(address)
        return render(request, "sign_in.html", status_code=401, next=to, error="wrong", wait=0)
    return Redirect(to, status_code=303, cookies=[session_cookie(request.scope, signed_in)])


@post("/ui/sign-out")
async def sign_out(request: ApiRequest, sessions: NamedDependency[Sessions]) -> Redirect:
    """End the session."""
    await sessions.sign_out(signed_in_of(request))
    return Redirect(SIGN_IN, status_code=303, cookies=[ended_cookie(request.scope)])


@post("/ui/preferences")
async def preferences(request: ApiRequest) -> Redirect:
    """Keep the language, the theme and the keys that somebody likes, in cookies of their own."""
    fields = form_of(request)
    cookies = []
    if (language := fields.get("language")) in LANGUAGES:
        cookies.append(_kept(LANGUAGE_COOKIE, language))
    if (theme := fields.get("theme")) in THEMES:
        cookies.append(_kept(THEME_COOKIE, theme))
    if (shortcuts := fields.get("shortcuts")) in {"on", "off"}:
        cookies.append(_kept(SHORTCUTS_COOKIE, shortcuts))
    return Redirect(local_path(fields.get("next")), status_code=303, cookies=cookies)


def _kept(name: str, value: str | None) -> Cookie:
    return Cookie(key=name, value=value, max_age=_YEAR, path="/ui", httponly=True, samesite="lax")
