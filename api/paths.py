"""Routes are matched against the path as it was sent; only then are its parts decoded.

A model's name may hold `/`, which clients send as `%2F`: `/v1/models/ft:meta-llama%2FLlama:org::abc`. Servers
hand on a decoded path, in which that slash and a separator look the same.
"""

from urllib.parse import unquote

from litestar.enums import ScopeType
from litestar.exceptions import NotFoundException
from litestar.types import ASGIApp, Receive, Scope, Send


class MatchedAsSent:
    """Around the router: puts the raw path where the router looks."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the layers inside."""
        if scope["type"] == ScopeType.HTTP:
            scope["path"] = scope["raw_path"].decode("latin-1")
        await self._app(scope, receive, send)


def decoded_parameters(app: ASGIApp) -> ASGIApp:
    """Inside the router: decode what the path's parameters matched."""

    async def decode(scope: Scope, receive: Receive, send: Send) -> None:
        # A new dictionary: the router's belongs to its cache.
        scope["path_params"] = {
            name: _decoded(value) for name, value in scope["path_params"].items()
        }
        await app(scope, receive, send)

    return decode


def _decoded(value: str) -> str:
    text = unquote(value)
    if "\0" in text:  # no id or name holds it, and databases refuse to look for it
        raise NotFoundException
    return text
