"""One page of a table, newest or oldest first, in constant time wherever it begins."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

from sqlalchemy import ColumnElement, Row, Select, Table, select
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.base import CursorPage
from schemas.errors import InvalidRequest

Order = Literal["asc", "desc"]


class Identified(Protocol):
    """Has an id by which a client can go on."""

    @property
    def id(self) -> str:
        """The cursor."""


_Item = TypeVar("_Item", bound=Identified)


async def page(
    connection: AsyncConnection,
    query: Select[tuple[object, ...]],
    *,
    table: Table,
    owned: ColumnElement[bool],
    limit: int,
    after: str | None,
    order: Order = "desc",
) -> tuple[list[Row[tuple[object, ...]]], bool]:
    """Return up to `limit` rows of `query` and whether there are more.

    Args:
        connection: An open transaction.
        query: Selects from `table`.
        table: Has `seq` and `id`.
        owned: What the caller may see; `after` must be among it.
        limit: At least 0, which only asks whether there is anything.
        after: The id of the row before the page; None: from the start.
        order: By creation.

    Raises:
        InvalidRequest: `after` is no id of the caller's.
    """
    seq = table.c.seq
    query = query.where(owned)
    if after is not None:
        found = await connection.scalar(select(seq).where(owned, table.c.id == after))
        if found is None:
            raise InvalidRequest(
                f"There is no object with id '{after}' to go on after.", param="after"
            )
        query = query.where(seq > found if order == "asc" else seq < found)
    query = query.order_by(seq.asc() if order == "asc" else seq.desc()).limit(limit + 1)
    rows = list((await connection.execute(query)).all())
    return rows[:limit], len(rows) > limit


# Quoted, because pydantic knows no schema of a protocol.
def cursor_page(data: Sequence[_Item], *, has_more: bool) -> "CursorPage[_Item]":
    """Return a page that names the ids of its ends."""
    return CursorPage(
        data=list(data),
        has_more=has_more,
        first_id=data[0].id if data else None,
        last_id=data[-1].id if data else None,
    )
