"""What each page and form asks of the key somebody signed in with: the one table. What is not in it is not served."""

from collections.abc import Iterable
from typing import Final

from litestar.enums import ScopeType
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from api.scopes import Alternatives, UndeclaredRoute
from schemas.errors import MissingScope
from schemas.scopes import Scope as KeyScope

_READ_FILES: Final = ("api.files.read",)
_WRITE_FILES: Final = ("api.files.write",)
_READ_JOBS: Final = ("api.fine_tuning.read",)
_WRITE_JOBS: Final = ("api.fine_tuning.write",)
_MANAGE_KEYS: Final = ("api.management.write",)
_NEEDED: Final[dict[tuple[str, str], tuple[KeyScope, ...]]] = {
    ("GET", "/ui/jobs"): _READ_JOBS,
    ("GET", "/ui/events"): _READ_JOBS,
    ("GET", "/ui/events/models"): ("api.model.read",),
    ("GET", "/ui/compare"): _READ_JOBS,
    ("GET", "/ui/jobs/new"): _WRITE_JOBS,
    ("POST", "/ui/jobs/new"): _WRITE_JOBS,
    ("POST", "/ui/jobs/new/estimate"): _WRITE_JOBS,
    ("POST", "/ui/jobs/new/code"): _WRITE_JOBS,
    ("POST", "/ui/jobs/new/upload/{field}"): _WRITE_FILES,
    ("GET", "/ui/jobs/{job_id}"): _READ_JOBS,
    ("GET", "/ui/jobs/{job_id}/metrics"): _READ_JOBS,
    ("GET", "/ui/jobs/{job_id}/metrics.csv"): _READ_JOBS,
    # What a file holds is refused by `jobs.seen_examples`; the page around it says so.
    ("GET", "/ui/jobs/{job_id}/examples"): _READ_JOBS,
    ("GET", "/ui/jobs/{job_id}/report"): (*_READ_JOBS, *_READ_FILES),
    ("GET", "/ui/jobs/{job_id}/cancel"): _WRITE_JOBS,
    ("POST", "/ui/jobs/{job_id}/cancel"): _WRITE_JOBS,
    ("POST", "/ui/jobs/{job_id}/pause"): _WRITE_JOBS,
    ("POST", "/ui/jobs/{job_id}/resume"): _WRITE_JOBS,
    ("GET", "/ui/files"): _READ_FILES,
    ("POST", "/ui/files"): _WRITE_FILES,
    ("GET", "/ui/files/{file_id}"): _READ_FILES,
    ("GET", "/ui/files/{file_id}/content"): _READ_FILES,
    # Where a job needs the file, its page comes back.
    ("POST", "/ui/files/{file_id}/delete"): (*_WRITE_FILES, *_READ_FILES),
    ("GET", "/ui/playground"): ("api.model.read", "model.request"),
    ("POST", "/ui/playground"): ("api.model.read", "model.request"),
    ("POST", "/ui/playground/answers"): ("model.request",),
    ("GET", "/ui/models"): ("api.model.read",),
    ("GET", "/ui/models/delete"): ("api.model.write",),
    ("POST", "/ui/models/delete"): ("api.model.write",),
    ("POST", "/ui/keys"): _MANAGE_KEYS,
    ("GET", "/ui/keys/{key_id}/rotate"): _MANAGE_KEYS,
    ("POST", "/ui/keys/{key_id}/rotate"): _MANAGE_KEYS,
    ("GET", "/ui/keys/{key_id}/revoke"): _MANAGE_KEYS,
    ("POST", "/ui/keys/{key_id}/revoke"): _MANAGE_KEYS,
}
"""All of them are needed, as the API's table (`api.scopes`) asks for the same act."""
_EITHER: Final[dict[tuple[str, str], Alternatives]] = {
    ("GET", "/ui/system"): ("api.model.read", "api.management.read"),
    ("GET", "/ui/events/system"): ("api.model.read", "api.management.read"),
}
"""One of them is enough."""
_OPEN: Final = {
    ("GET", "/ui/static/{name}"): "the same for everybody",
    ("GET", "/ui/sign-in"): "where sessions begin",
    ("POST", "/ui/sign-in"): "where sessions begin",
    ("POST", "/ui/sign-out"): "everybody may leave",
    ("POST", "/ui/preferences"): "the reader's own language and theme",
    ("GET", "/ui"): "leads on",
    ("GET", "/ui/{rest}"): "is not there for anybody",
    ("GET", "/ui/jobs/new/name"): "puts together what was sent",
    # These show what the key may see, and to whom that is nothing, who may see it.
    ("GET", "/ui/keys"): "the page asks for api.management.read",
    ("GET", "/ui/usage"): "the page asks for api.usage.read, or lists the key's own jobs",
}
"""What any session may do, and why."""


def check_declared(routes: Iterable[BaseRoute]) -> None:
    """Refuse a dashboard with a page that every key could see by mistake.

    Raises:
        UndeclaredRoute: One is in no table, or is of a kind whose methods are not known.
    """
    declared = _NEEDED.keys() | _EITHER.keys() | _OPEN.keys()
    for route in routes:
        if not isinstance(route, HTTPRoute):
            raise UndeclaredRoute(f"{route.path_format}: only HTTP routes can be declared")
        for method in route.methods - {"OPTIONS"}:
            if (method, route.path_format) not in declared:
                raise UndeclaredRoute(f"{method} {route.path_format}: add it to {__name__}")


def scope_required(app: ASGIApp) -> ASGIApp:
    """Inside the router, behind the session: let a request pass where its key may do what it asks for.

    Raises:
        MissingScope: It may not.
    """

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == ScopeType.HTTP  # `check_declared` saw to it
        asked = scope["method"], scope["path_template"]
        for needed in _NEEDED.get(asked, ()):
            scope["user"].ensure_may(needed)
        if (either := _EITHER.get(asked)) and scope["user"].scopes.isdisjoint(either):
            raise MissingScope(either[0])
        await app(scope, receive, send)

    return check
