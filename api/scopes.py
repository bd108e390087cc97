"""What each route asks of a key: the one table. A route that is not in it is not served."""

import re
from collections.abc import Iterable
from functools import cache
from typing import Final

from litestar.enums import ScopeType
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp, Receive, Scope, Send

from api.security import PUBLIC_PATHS
from schemas.errors import MissingScope
from schemas.scopes import Scope as KeyScope

Alternatives = tuple[KeyScope, ...]
"""Any one of them is enough; none: the route is public."""

_PUBLIC: Final = frozenset(path.decode() for path in PUBLIC_PATHS)
_SINGLE: Final[dict[tuple[str, str], Alternatives]] = {
    ("POST", "/chat/completions"): ("model.request",),
    ("POST", "/completions"): ("model.request",),
    ("POST", "/embeddings"): ("model.request",),
    ("POST", "/deployments/{path}"): ("model.request",),
    # It is the training file that is shown.
    ("GET", "/fine_tuning/jobs/{job_id}/examples"): ("api.files.read",),
}
"""Routes that ask for something else than the family they stand in."""
_FAMILIES: Final[dict[str, tuple[Alternatives, Alternatives]]] = {
    "/batches": (("api.batch.read",), ("api.batch.write",)),
    "/chat/completions": (("api.chat.completions.read",), ("api.chat.completions.write",)),
    "/files": (("api.files.read",), ("api.files.write",)),
    "/fine_tuning": (("api.fine_tuning.read",), ("api.fine_tuning.write",)),
    # OpenAI's page asks for an admin key here, its Python SDK sends the project's: both will do.
    "/fine_tuning/checkpoints": (
        ("api.fine_tuning.read", "api.management.read"),
        ("api.fine_tuning.write", "api.management.write"),
    ),
    "/models": (("api.model.read",), ("api.model.write",)),
    "/organization": (("api.management.read",), ("api.management.write",)),
    "/organization/costs": (("api.usage.read",), ()),
    "/organization/usage": (("api.usage.read",), ()),
    "/responses": (("api.responses.read",), ("api.responses.write",)),
    # How the machines are: counts of all projects, and for admin keys the rest.
    "/system": (("api.model.read", "api.management.read"), ()),
    "/uploads": (("api.files.read",), ("api.files.write",)),
    "/webhook_endpoints": (("api.webhooks.read",), ("api.webhooks.write",)),
    "/webhook_event_types": (("api.webhooks.read",), ("api.webhooks.write",)),
}
"""By the beginning of a path, the longest that fits: what GET asks for, and what all else does."""
_PREFIX: Final = re.compile(r"^(/openai)?(/v1)?(?=/)")
"""Under which the same routes are served."""


class UndeclaredRoute(Exception):
    """Somebody added a route without saying, in this module, what it asks of a key."""


@cache
def scopes_for(method: str, template: str) -> Alternatives:
    """Return what a route asks for.

    Args:
        method: In capitals.
        template: Such as `/v1/files/{file_id}`.

    Raises:
        UndeclaredRoute: The table does not say.
    """
    if template in _PUBLIC:
        return ()
    path = _PREFIX.sub("", template)
    if single := _SINGLE.get((method, path)):
        return single
    while path:
        if path in _FAMILIES:
            to_read, to_write = _FAMILIES[path]
            if found := to_read if method == "GET" else to_write:
                return found
            break
        path = path.rpartition("/")[0]
    raise UndeclaredRoute(f"{method} {template}: add it to the tables of {__name__}")


def check_declared(routes: Iterable[BaseRoute]) -> None:
    """Refuse an application with a route that everybody could call by mistake.

    Raises:
        UndeclaredRoute: One is not in the table, or is of a kind whose methods are not known.
    """
    for route in routes:
        if not isinstance(route, HTTPRoute):
            raise UndeclaredRoute(f"{route.path_format}: only HTTP routes can be declared")
        for method in route.methods - {"OPTIONS"}:
            scopes_for(method, route.path_format)


def scope_required(app: ASGIApp) -> ASGIApp:
    """Inside the router: let a key pass where it may do what the route does, else answer 401 in OpenAI's words.

    Not a guard of Litestar's: for each request with one it copies the route's handler.
    """

    async def check(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == ScopeType.HTTP  # `check_declared` saw to it
        # OPTIONS: any good key may learn which methods there are.
        is_asked = scope["method"] != "OPTIONS"
        needed = scopes_for(scope["method"], scope["path_template"]) if is_asked else ()
        if needed and scope["user"].scopes.isdisjoint(needed):
            raise MissingScope(needed[0])
        await app(scope, receive, send)

    return check
