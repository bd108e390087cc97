"""Records of responses, and of the items they were asked and answered with."""

from collections.abc import Sequence

from pydantic import TypeAdapter
from sqlalchemy import CTE, ColumnElement, Row, and_, delete, insert, literal, select
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.paging import Order, cursor_page, page
from jobs.store.tables import response_items, responses
from schemas.base import CursorPage
from schemas.errors import PreviousResponseNotFound, ResponseNotFound
from schemas.response_items import Item, OutputItem
from schemas.responses import Response

_Items: TypeAdapter[Item] = TypeAdapter(Item)
_OutputItems: TypeAdapter[OutputItem] = TypeAdapter(OutputItem)
_AT_ONCE = 100
"""Expired responses that one transaction deletes."""


class ResponseRecords:
    """Responses that are kept, each pointing at the one before it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, response: Response, asked: Sequence[Item], *, project_id: str) -> None:
        """Record a response that is over.

        Args:
            response: With its output.
            asked: What it was asked, without what came before.
            project_id: Whose it is.
        """
        rows = [
            {
                "id": item.id,
                "project_id": project_id,
                "response_id": response.id,
                "is_output": is_output,
                "item": item.model_dump_json(),
            }
            for is_output, items in ((False, asked), (True, response.output))
            for item in items
        ]
        async with self._database.write() as connection:
            await connection.execute(
                insert(responses).values(
                    id=response.id,
                    project_id=project_id,
                    previous_id=response.previous_response_id,
                    created_at=response.created_at,
                    response=response.model_dump_json(exclude={"output"}),
                )
            )
            if rows:
                await connection.execute(insert(response_items), rows)

    async def get(self, response_id: str, *, project_id: str) -> Response:
        """Return a response of the project's.

        Raises:
            ResponseNotFound: There is none of that id.
        """
        async with self._database.read() as connection:
            row = await _find(connection, response_id, project_id)
            output = await connection.execute(
                select(response_items.c.item)
                .where(_items_of(response_id, project_id), response_items.c.is_output.is_(True))
                .order_by(response_items.c.seq)
            )
            items = [_OutputItems.validate_json(found.item) for found in output]
        return Response.model_validate_json(row.response).model_copy(update={"output": items})

    async def conversation(self, response_id: str, *, project_id: str) -> list[Item]:
        """Return all that was said up to a response and with it, oldest first.

        Raises:
            PreviousResponseNotFound: It, or one that it goes on from, is no more.
        """
        chain = _chain(response_id, project_id)
        links = select(chain.c.id, chain.c.previous_id).order_by(chain.c.depth)
        said = (
            select(response_items.c.item)
            .join(chain, response_items.c.response_id == chain.c.id)
            .where(response_items.c.project_id == project_id)
            .order_by(chain.c.depth.desc(), response_items.c.seq)
        )
        async with self._database.read() as connection:
            found = (await connection.execute(links)).all()
            missing = found[-1].previous_id if found else response_id
            if missing is not None:
                raise PreviousResponseNotFound(missing)
            return [_Items.validate_json(row.item) for row in await connection.execute(said)]

    async def items(self, ids: set[str], *, project_id: str) -> dict[str, Item]:
        """Return those of the project's items that have one of `ids`."""
        if not ids:
            return {}
        mine = and_(response_items.c.project_id == project_id, response_items.c.id.in_(ids))
        async with self._database.read() as connection:
            rows = await connection.execute(
                select(response_items.c.id, response_items.c.item)
                .where(mine)
                .order_by(response_items.c.seq)
            )
            return {row.id: _Items.validate_json(row.item) for row in rows}

    async def input_page(
        self, response_id: str, *, project_id: str, limit: int, after: str | None, order: Order
    ) -> CursorPage[Item]:
        """Return one page of what a response was asked.

        Raises:
            ResponseNotFound: There is none of that id.
            InvalidRequest: `after` is no item of it.
        """
        async with self._database.read() as connection:
            await _find(connection, response_id, project_id)
            rows, has_more = await page(
                connection,
                select(response_items.c.item),
                table=response_items,
                owned=and_(
                    _items_of(response_id, project_id), response_items.c.is_output.is_(False)
                ),
                limit=limit,
                after=after,
                order=order,
            )
        data = [_Items.validate_json(row.item) for row in rows]
        return cursor_page(data, has_more=has_more)

    async def delete(self, response_id: str, *, project_id: str) -> None:
        """Forget a response with its items; those that go on from it can be read, but not gone on from.

        Raises:
            ResponseNotFound: There is none of that id.
        """
        async with self._database.write() as connection:
            await _find(connection, response_id, project_id)
            await _forget(connection, [response_id])

    async def delete_older(self, *, than: int) -> int:
        """Forget some of everybody's responses of before `than` (Unix seconds), and return how many; 0: none is left.

        Not all at once: nobody could write meanwhile.
        """
        async with self._database.write() as connection:
            old = await connection.scalars(
                select(responses.c.id).where(responses.c.created_at < than).limit(_AT_ONCE)
            )
            ids = list(old)
            await _forget(connection, ids)
        return len(ids)


def _chain(response_id: str, project_id: str) -> CTE:
    """Select a response and those it goes on from, with how far back each is."""
    mine = responses.c.project_id == project_id
    columns = (responses.c.id, responses.c.previous_id)
    newest = select(*columns, literal(0).label("depth")).where(mine, responses.c.id == response_id)
    chain = newest.cte("chain", recursive=True)
    older = select(*columns, chain.c.depth + 1).where(mine, responses.c.id == chain.c.previous_id)
    return chain.union_all(older)


def _items_of(response_id: str, project_id: str) -> ColumnElement[bool]:
    return and_(
        response_items.c.response_id == response_id, response_items.c.project_id == project_id
    )


async def _find(
    connection: AsyncConnection, response_id: str, project_id: str
) -> Row[tuple[object, ...]]:
    mine = and_(responses.c.id == response_id, responses.c.project_id == project_id)
    row = (await connection.execute(select(responses).where(mine))).one_or_none()
    if row is None:
        raise ResponseNotFound(response_id)
    return row


async def _forget(connection: AsyncConnection, ids: Sequence[str]) -> None:
    await connection.execute(delete(response_items).where(response_items.c.response_id.in_(ids)))
    await connection.execute(delete(responses).where(responses.c.id.in_(ids)))
