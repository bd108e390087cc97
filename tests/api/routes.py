"""The application's routes and their description, built once in a process: each takes most of a second."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from litestar.routes import BaseRoute

from api.app import create_router
from api.openapi.document import build_document
from schemas.settings import Settings


@cache
def served_routes() -> Sequence[BaseRoute]:
    """All that the application serves; nothing is opened."""
    nowhere = Settings(data_dir=Path("/nowhere"), bases_dir=Path("/nowhere"))
    return create_router(nowhere).routes


@cache
def described() -> dict:
    """The description of the application; to be read, not changed."""
    return build_document(served_routes())
