"""Records of chat completions that are kept for later."""

from collections.abc import Mapping, Sequence

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Row, and_, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.paging import Order, cursor_page, page
from jobs.store.pairs import has_pairs
from jobs.store.tables import chat_completions
from schemas.base import CursorPage
from schemas.errors import CompletionNotFound
from schemas.stored_completions import StoredCompletion, StoredMessage

_AT_ONCE = 100
"""Expired answers that one transaction deletes."""
_pairs: TypeAdapter[dict[str, str]] = TypeAdapter(dict[str, str])
_messages: TypeAdapter[list[StoredMessage]] = TypeAdapter(list[StoredMessage])


class ChatCompletionRecords:
    """Answers and the conversations that led to them, by the answer's id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, completion: StoredCompletion, messages: Sequence[StoredMessage], *, project_id: str
    ) -> None:
        """Keep an answer."""
        async with self._database.write() as connection:
            await connection.execute(
                insert(chat_completions).values(
                    id=completion.id,
                    project_id=project_id,
                    model=completion.model,
                    created_at=completion.created,
                    metadata=_pairs.dump_json(completion.metadata).decode(),
                    completion=completion.model_dump_json(),
                    messages=_messages.dump_json(list(messages)).decode(),
                )
            )

    async def get(self, completion_id: str, *, project_id: str) -> StoredCompletion:
        """Return an answer of the project's.

        Raises:
            CompletionNotFound: There is none of that id.
        """
        mine = _one(completion_id, project_id)
        async with self._database.read() as connection:
            return _completion(await _only(connection, mine, completion_id))

    async def messages(self, completion_id: str, *, project_id: str) -> list[StoredMessage]:
        """Return the conversation that an answer of the project's belongs to, oldest first.

        Raises:
            CompletionNotFound: There is none of that id.
        """
        mine = _one(completion_id, project_id)
        async with self._database.read() as connection:
            row = await _only(connection, mine, completion_id)
        return _messages.validate_json(row.messages)

    async def page(
        self,
        *,
        project_id: str,
        model: str | None,
        metadata: Mapping[str, str] | None,
        limit: int,
        after: str | None,
        order: Order,
    ) -> CursorPage[StoredCompletion]:
        """Return one page of the project's answers.

        Args:
            project_id: Whose.
            model: Only this model's answers; None: all.
            metadata: Pairs that an answer must have, all of them; empty: only those without metadata.
            limit: At least 0.
            after: The answer before the page.
            order: By creation.

        Raises:
            InvalidRequest: `after` is no answer of the project's.
        """
        query = select(chat_completions)
        if model is not None:
            query = query.where(chat_completions.c.model == model)
        async with self._database.read() as connection:
            if metadata is not None:
                query = query.where(_has_metadata(connection, metadata))
            rows, has_more = await page(
                connection,
                query,
                table=chat_completions,
                owned=chat_completions.c.project_id == project_id,
                limit=limit,
                after=after,
                order=order,
            )
        data = [_completion(row) for row in rows]
        return cursor_page(data, has_more=has_more)

    async def set_metadata(
        self, completion_id: str, metadata: Mapping[str, str], *, project_id: str
    ) -> StoredCompletion:
        """Give an answer other metadata, and return it.

        Raises:
            CompletionNotFound: There is none of that id.
        """
        mine = _one(completion_id, project_id)
        async with self._database.write() as connection:
            row = await _only(connection, mine, completion_id)
            changed = _completion(row).model_copy(update={"metadata": dict(metadata)})
            await connection.execute(
                update(chat_completions)
                .where(mine)
                .values(
                    metadata=_pairs.dump_json(changed.metadata).decode(),
                    completion=changed.model_dump_json(),
                )
            )
        return changed

    async def delete(self, completion_id: str, *, project_id: str) -> None:
        """Forget an answer.

        Raises:
            CompletionNotFound: There is none of that id.
        """
        async with self._database.write() as connection:
            gone = await connection.execute(
                delete(chat_completions).where(_one(completion_id, project_id))
            )
        if gone.rowcount == 0:
            raise CompletionNotFound(completion_id)

    async def delete_older(self, *, than: int) -> int:
        """Forget some of everybody's answers of before `than` (Unix seconds), and return how many; 0: none is left.

        Not all at once: nobody could write meanwhile.
        """
        old = select(chat_completions.c.id).where(chat_completions.c.created_at < than)
        async with self._database.write() as connection:
            ids = list(await connection.scalars(old.limit(_AT_ONCE)))
            await connection.execute(delete(chat_completions).where(chat_completions.c.id.in_(ids)))
        return len(ids)


def _has_metadata(connection: AsyncConnection, wanted: Mapping[str, str]) -> ColumnElement[bool]:
    if wanted:
        return has_pairs(connection, chat_completions.c.metadata, wanted)
    return chat_completions.c.metadata == "{}"


def _one(completion_id: str, project_id: str) -> ColumnElement[bool]:
    return and_(chat_completions.c.id == completion_id, chat_completions.c.project_id == project_id)


async def _only(
    connection: AsyncConnection, mine: ColumnElement[bool], completion_id: str
) -> Row[tuple[object, ...]]:
    row = (await connection.execute(select(chat_completions).where(mine))).one_or_none()
    if row is None:
        raise CompletionNotFound(completion_id)
    return row


def _completion(row: Row[tuple[object, ...]]) -> StoredCompletion:
    return StoredCompletion.model_validate_json(row.completion)
