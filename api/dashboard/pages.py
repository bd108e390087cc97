"""Templates to pages: what every page knows of its reader, and how what goes wrong looks."""

import logging
import re
import time
from collections.abc import Mapping
from functools import cache
from typing import Final, Literal, get_args
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar import Response
from litestar.datastructures import Cookie
from litestar.exceptions import HTTPException
from litestar.response import Redirect

from api.bodies import ApiRequest
from api.dashboard.assets import asset_url
from api.dashboard.guard import SIGN_IN, SignInNeeded, find_signed_in, read_cookies
from api.dashboard.messages import LANGUAGES, NAMES, Messages, choose_language
from schemas.errors import ApiError, MissingScope

logger = logging.getLogger(__name__)

Theme = Literal["system", "light", "dark"]
THEMES: Final[tuple[Theme, ...]] = get_args(Theme)
LANGUAGE_COOKIE: Final = "retune_language"
THEME_COOKIE: Final = "retune_theme"
SHORTCUTS_COOKIE: Final = "retune_shortcuts"
"""`off`: a letter alone does nothing, as who speaks to their machine may want it (WCAG 2.1.4)."""
NAVIGATION: Final = ("jobs", "playground", "files", "models", "usage", "keys", "system")
"""The pages that there are, in the order of the bar at the top."""
ADMIN_NAVIGATION: Final = ("usage", "keys", "system")
"""Those that an admin key opens: it has no project, and the others show one."""
SHORTCUTS: Final[Mapping[str, str]] = {
    "jobs": "j",
    "playground": "p",
    "files": "f",
    "models": "m",
    "usage": "u",
    "keys": "k",
    "system": "s",
}
"""The letter after `g` that leads to a page."""
HOME: Final = "/ui/"
"""From where each goes on to their first page."""

_LOCAL: Final = re.compile(r"/ui(/[\w\-./~%]*)?(\?[\w\-./~%=&,:+]*)?", re.ASCII)


class Page(Response[str]):
    """HTML."""

    def __init__(
        self,
        content: str,
        *,
        status_code: int = 200,
        headers: dict[str, str] | None = None,
        cookies: list[Cookie] | None = None,
    ) -> None:
        super().__init__(
            content,
            media_type="text/html",
            status_code=status_code,
            headers=headers,
            cookies=cookies,
        )


def render(
    request: ApiRequest, template: str, *, status_code: int = 200, **context: object
) -> Page:
    """Return the page that a template makes for the reader who asks.

    Args:
        request: Theirs.
        template: Of `templates`.
        status_code: Of the answer.
        context: What the template names beside `t`, `reader` and the globals.
    """
    content = (
        _environment()
        .get_template(template)
        .render(
            t=messages_of(request),
            reader=Reader(request),
            now=time.time(),
            **context,
        )
    )
    return Page(content, status_code=status_code)


class Reader:
    """Who looks at a page, and how they like it."""

    def __init__(self, request: ApiRequest) -> None:
        cookies = read_cookies(request.headers)
        theme = cookies.get(THEME_COOKIE)
        self.theme: Theme = next((each for each in THEMES if each == theme), "system")
        self.has_shortcuts = cookies.get(SHORTCUTS_COOKIE) != "off"
        self.signed_in = find_signed_in(request)
        self.path = request.scope["path"]
        query = request.scope["query_string"].decode("latin-1")
        self.here = f"{self.path}?{query}" if query else self.path
        self.is_script = is_fragment(request)
        self.origin = str(request.base_url).rstrip("/")

    @property
    def navigation(self) -> tuple[str, ...]:
        """The pages that their key has something to see on."""
        is_admin = self.signed_in is not None and self.signed_in.caller.is_admin
        return ADMIN_NAVIGATION if is_admin else NAVIGATION

    @property
    def above(self) -> str:
        """The page of the bar that the reader's page is below; the first one where it is below none."""
        return next(
            (f"/ui/{name}" for name in self.navigation if self.path.startswith(f"/ui/{name}/")),
            "/ui",
        )

    @property
    def csrf_token(self) -> str:
        """What their forms carry; empty where nobody is signed in."""
        return self.signed_in.csrf_token if self.signed_in else ""


def messages_of(request: ApiRequest) -> Messages:
    """Return the messages in the reader's language."""
    chosen = read_cookies(request.headers).get(LANGUAGE_COOKIE)
    return Messages(choose_language(chosen, request.headers.get("accept-language")))


def is_fragment(request: ApiRequest) -> bool:
    """Whether a script asks for a piece of a page, not a reader for the whole."""
    return request.headers.get("hx-request") == "true"


def local_path(path: str | None) -> str:
    """Return `path` where it is one of the dashboard's own, else the first page."""
    return path if path and _LOCAL.fullmatch(path) else HOME


def to_sign_in(request: ApiRequest, _exc: SignInNeeded) -> Response[str] | Redirect:
    """Lead to the sign-in page, and from there back."""
    reader = Reader(request)
    url = f"{SIGN_IN}?next={quote(local_path(reader.here), safe='')}"
    if is_fragment(request):
        return Response("", status_code=401, headers={"hx-redirect": url})
    if request.method != "GET" or "text/html" not in request.headers.get("accept", "text/html"):
        return render(
            request,
            "error.html",
            status_code=401,
            status=401,
            message=None,
            code="signed_out",
            is_passing=False,
        )
    return Redirect(url, status_code=303)


def error_page(request: ApiRequest, exc: Exception) -> Page:
    """Return what says to the reader what went wrong, and what to do."""
    status: int
    message: str | None
    code: str | None
    reader = find_signed_in(request)
    match exc:
        case MissingScope() if reader and reader.caller.is_admin and not is_fragment(request):
            return render(request, "wants_project.html", status_code=403)
        case MissingScope():
            status, message, code = exc.status, exc.message, "missing_scope"
        case ApiError():
            status, message, code = exc.status, exc.message, exc.code
        case HTTPException(status_code=status) if status < 500:
            message, code = None, "not_found" if status == 404 else "bad_request"
        case _:
            logger.error("%s %s failed", request.method, request.scope["path"], exc_info=exc)
            status, message, code = 500, None, "broken"
    template = "error_fragment.html" if is_fragment(request) else "error.html"
    is_passing = request.method == "GET" and (status >= 500 or status == 429)
    return render(
        request,
        template,
        status_code=status,
        status=status,
        message=message,
        code=code,
        is_passing=is_passing,
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.dashboard"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {
        "asset": asset_url,
        "shortcuts": SHORTCUTS,
        "languages": {each: NAMES[each] for each in LANGUAGES},
        "themes": THEMES,
    }
    return environment
