"""Records of webhook endpoints. Their secrets are kept readable, because deliveries are signed with them."""

from collections.abc import Callable
from typing import Final

from sqlalchemy import ColumnElement, Row, and_, delete, func, insert, select, update

from jobs.store.database import Database
from jobs.store.outbox import EventTypesText, live_secrets
from jobs.store.paging import cursor_page, page
from jobs.store.tables import webhook_deliveries, webhook_endpoints
from schemas.base import CursorPage, Schema
from schemas.errors import InvalidRequest, NotFound
from schemas.webhooks import Endpoint, LastDelivery, secret_hint

MAX_ENDPOINTS: Final = 20
"""Of one project: each event is sent to as many."""


class EndpointNotFound(NotFound):
    """There is no such webhook endpoint."""

    def __init__(self, endpoint_id: str) -> None:
        super().__init__(f"No such webhook endpoint: {endpoint_id}", param="webhook_endpoint_id")


class EndpointRecord(Schema):
    """An endpoint, and what it is signed with."""

    endpoint: Endpoint
    secret: str
    old_secret: str | None = None
    old_secret_until: int | None = None
    """Unix seconds."""

    def live_secrets(self, *, now: float) -> tuple[str, ...]:
        """Return what to sign with."""
        return live_secrets(
            self.secret, old=self.old_secret, old_until=self.old_secret_until, now=now
        )


class WebhookRecords:
    """Where each project's events go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, record: EndpointRecord, *, project_id: str) -> None:
        """Record a new endpoint.

        Raises:
            InvalidRequest: The project has as many as it may.
        """
        mine = webhook_endpoints.c.project_id == project_id
        async with self._database.write() as connection:
            count = select(func.count()).select_from(webhook_endpoints).where(mine)
            if (await connection.scalar(count) or 0) >= MAX_ENDPOINTS:
                raise InvalidRequest(
                    f"This project has {MAX_ENDPOINTS} webhook endpoints, the most that are "
                    "possible. Delete one first.",
                    code="webhook_endpoint_limit_reached",
                )
            await connection.execute(
                insert(webhook_endpoints).values(
                    id=record.endpoint.id,
                    project_id=project_id,
                    created_at=record.endpoint.created_at,
                    **_changeable(record),
                )
            )

    async def get(self, endpoint_id: str, *, project_id: str) -> EndpointRecord:
        """Return an endpoint of the project's.

        Raises:
            EndpointNotFound: There is none of that id.
        """
        async with self._database.read() as connection:
            query = select(webhook_endpoints).where(_mine(endpoint_id, project_id))
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise EndpointNotFound(endpoint_id)
        return _record(row)

    async def change(
        self,
        endpoint_id: str,
        change: Callable[[EndpointRecord], EndpointRecord],
        *,
        project_id: str,
    ) -> EndpointRecord:
        """Read an endpoint, let `change` decide, and write it, atomically.

        Raises:
            EndpointNotFound: There is none of that id.
        """
        mine = _mine(endpoint_id, project_id)
        async with self._database.write() as connection:
            query = select(webhook_endpoints).where(mine).with_for_update()
            row = (await connection.execute(query)).one_or_none()
            if row is None:
                raise EndpointNotFound(endpoint_id)
            changed = change(_record(row))
            await connection.execute(
                update(webhook_endpoints).where(mine).values(**_changeable(changed))
            )
        return changed

    async def page(self, *, project_id: str, limit: int, after: str | None) -> CursorPage[Endpoint]:
        """Return one page of the project's endpoints, newest first.

        Raises:
            InvalidRequest: `after` is no endpoint of the project's.
        """
        async with self._database.read() as connection:
            rows, has_more = await page(
                connection,
                select(webhook_endpoints),
                table=webhook_endpoints,
                owned=webhook_endpoints.c.project_id == project_id,
                limit=limit,
                after=after,
            )
        data = [_record(row).endpoint for row in rows]
        return cursor_page(data, has_more=has_more)

    async def delete(self, endpoint_id: str, *, project_id: str) -> None:
        """Forget an endpoint, and what was still to be sent to it.

        Raises:
            EndpointNotFound: There is none of that id.
        """
        mine = _mine(endpoint_id, project_id)
        async with self._database.write() as connection:
            found = select(webhook_endpoints.c.id).where(mine).scalar_subquery()
            # Deliveries first, as `Outbox.record` does: the other way round two could wait for each other.
            await connection.execute(
                delete(webhook_deliveries).where(webhook_deliveries.c.endpoint_id == found)
            )
            gone = await connection.execute(delete(webhook_endpoints).where(mine))
        if gone.rowcount == 0:
            raise EndpointNotFound(endpoint_id)


def _mine(endpoint_id: str, project_id: str) -> ColumnElement[bool]:
    return and_(webhook_endpoints.c.id == endpoint_id, webhook_endpoints.c.project_id == project_id)


def _changeable(record: EndpointRecord) -> dict[str, object]:
    """Return the columns that a user can change; `last_delivery` is the outbox's."""
    endpoint = record.endpoint
    return {
        "name": endpoint.name,
        "url": endpoint.url,
        "event_types": EventTypesText.dump_json(endpoint.event_types).decode(),
        "secret": record.secret,
        "old_secret": record.old_secret,
        "old_secret_until": record.old_secret_until,
        "updated_at": endpoint.updated_at,
    }


def _record(row: Row[tuple[object, ...]]) -> EndpointRecord:
    told = row.last_delivery
    endpoint = Endpoint(
        id=row.id,
        created_at=row.created_at,
        updated_at=row.updated_at,
        name=row.name,
        url=row.url,
        event_types=EventTypesText.validate_json(row.event_types),
        signing_secret_hint=secret_hint(row.secret),
        last_delivery=None if told is None else LastDelivery.model_validate_json(told),
    )
    return EndpointRecord(
        endpoint=endpoint,
        secret=row.secret,
        old_secret=row.old_secret,
        old_secret_until=row.old_secret_until,
    )
