"""Scripts and styles: each under a name that changes with its content, so that browsers keep it for ever."""

import gzip
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final, NamedTuple

from litestar import Response, get
from litestar.params import FromPath

from api.bodies import ApiRequest
from schemas.errors import NotFound

PREFIX: Final = "/ui/static"
_MEDIA_TYPES: Final = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


class Asset(NamedTuple):
    """A file that pages name."""

    media_type: str
    content: bytes
    gzipped: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """Return all files by the names they are served under, such as `app.3f2a91c04b7e.css`."""
    return {_served_name(file): _asset(file) for file in _files()}


@cache
def asset_url(name: str) -> str:
    """Return the URL of a file.

    Args:
        name: As it is called in `static` or `static/vendor`.

    Raises:
        KeyError: There is none.
    """
    return {file.name: f"{PREFIX}/{_served_name(file)}" for file in _files()}[name]


@get(PREFIX + "/{name:str}")
async def static_file(request: ApiRequest, name: FromPath[str]) -> Response[bytes]:
    """Return a file."""
    asset = assets().get(name)
    if asset is None:
        raise NotFound(f"There is no file '{name}'.")
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(asset.gzipped, headers=headers, media_type=asset.media_type)
    return Response(asset.content, headers=headers, media_type=asset.media_type)


def _files() -> list[Traversable]:
    root = files("api.dashboard") / "static"
    found = [*root.iterdir(), *(root / "vendor").iterdir()]
    return [file for file in found if file.is_file() and _suffix(file) in _MEDIA_TYPES]


def _asset(file: Traversable) -> Asset:
    content = file.read_bytes()
    return Asset(_MEDIA_TYPES[_suffix(file)], content, gzip.compress(content, 9, mtime=0))


def _served_name(file: Traversable) -> str:
    stem, _, suffix = file.name.rpartition(".")
    return f"{stem}.{hashlib.sha256(file.read_bytes()).hexdigest()[:12]}.{suffix}"


def _suffix(file: Traversable) -> str:
    return file.name.rpartition(".")[2]
