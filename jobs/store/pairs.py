"""Asking records for what their JSON holds, such as metadata, on SQLite and Postgres alike."""

from collections.abc import Mapping

from sqlalchemy import Column, ColumnElement, and_, cast, exists, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection


def has_pairs(
    connection: AsyncConnection,
    document: Column[str],
    wanted: Mapping[str, str],
    *,
    member: str | None = None,
) -> ColumnElement[bool]:
    """Return the condition that an object has all of these pairs, and perhaps others.

    Args:
        connection: Whose database will be asked.
        document: JSON text.
        wanted: At least one.
        member: The object's name in the document; None: it is the document.
    """
    if connection.dialect.name == "postgresql":
        found = cast(document, JSONB)
        return (found if member is None else found[member]).contains(dict(wanted))
    # Not by path: a key may hold a quotation mark, which SQLite's paths cannot.
    place = "$" if member is None else f"$.{member}"
    pairs = func.json_each(document, place).table_valued("key", "value")
    return and_(
        *(
            exists().select_from(pairs).where(pairs.c.key == key, pairs.c.value == text)
            for key, text in wanted.items()
        )
    )


def member_text(
    connection: AsyncConnection, document: ColumnElement[str], *path: str
) -> ColumnElement[str]:
    """Return a member of an object as text; null where it is null, or not there.

    Args:
        connection: Whose database will be asked.
        document: JSON text.
        path: Names of ours, from the outermost.
    """
    if connection.dialect.name == "postgresql":
        found: ColumnElement[str] = cast(document, JSONB)[path].astext
        return found
    return func.json_extract(document, f"$.{'.'.join(path)}")
