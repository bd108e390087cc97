"""Records of webhook deliveries: written with what they tell of, claimed by one sender at a time.

A delivery that is being sent is one whose next attempt lies a lease ahead, so a killed sender's are due again by
themselves; the number of attempts is the fence of whoever claimed it last.
"""

from collections.abc import Collection
from typing import Final

from pydantic import TypeAdapter
from sqlalchemy import Row, and_, delete, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from jobs.store.database import Database
from jobs.store.tables import webhook_deliveries, webhook_endpoints
from schemas.base import Schema
from schemas.ids import new_hex_id
from schemas.webhooks import EventObject, EventType, LastDelivery, WebhookEvent

EventTypesText: Final = TypeAdapter(list[EventType])
"""The column `event_types`."""


class Delivery(Schema):
    """An event on its way to one endpoint."""

    id: str
    """The header `webhook-id`: the same at each attempt, so that receivers know what they have had."""
    endpoint_id: str
    event_type: str
    url: str
    secrets: tuple[str, ...]
    """What to sign it with: the endpoint's secret, and an old one that is still good."""
    body: str
    created_at: int
    """Unix seconds."""
    attempts: int
    """This one included; the fence."""


async def add_event(
    connection: AsyncConnection, *, project_id: str, type: EventType, object_id: str, now: int
) -> None:
    """Record that something happened, for each of the project's endpoints that asked to hear of it.

    Args:
        connection: The transaction that makes it happen: both are written, or neither.
        project_id: Whose event it is.
        type: What happened.
        object_id: To which job or batch.
        now: Unix seconds.
    """
    mine = webhook_endpoints.c.project_id == project_id
    columns = select(webhook_endpoints.c.id, webhook_endpoints.c.event_types).where(mine)
    rows = (await connection.execute(columns)).all()
    listeners = [row.id for row in rows if type in EventTypesText.validate_json(row.event_types)]
    if not listeners:
        return
    body = new_event(type, object_id, now=now).model_dump_json()
    deliveries = [
        {
            "id": new_hex_id("wh_"),
            "endpoint_id": endpoint_id,
            "event_type": type,
            "body": body,
            "created_at": now,
            "status": "pending",
            "attempts": 0,
            "next_at": float(now),
        }
        for endpoint_id in listeners
    ]
    await connection.execute(insert(webhook_deliveries), deliveries)


def new_event(type: EventType, object_id: str, *, now: int) -> WebhookEvent:
    """Return an event that happened `now`, in Unix seconds."""
    return WebhookEvent(
        id=new_hex_id("evt_"), created_at=now, type=type, data=EventObject(id=object_id)
    )


class Outbox:
    """What is still to be sent, and how it went."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, *, now: float, lease: float, busy: Collection[str], limit: int
    ) -> list[Delivery]:
        """Take deliveries that are due, at most one for each endpoint.

        Args:
            now: Unix seconds.
            lease: For how many seconds nobody else may take them.
            busy: Endpoints to leave alone.
            limit: How many at most.
        """
        due = and_(
            webhook_deliveries.c.status == "pending",
            webhook_deliveries.c.next_at <= now,
            webhook_deliveries.c.endpoint_id.not_in(busy),
        )
        firsts = (
            select(func.min(webhook_deliveries.c.seq).label("seq"))
            .where(due)
            .group_by(webhook_deliveries.c.endpoint_id)
            .order_by(func.min(webhook_deliveries.c.next_at))
            .limit(limit)
        )
        # Most often nothing is due: look before taking SQLite's one turn to write.
        async with self._database.read() as connection:
            seqs = (await connection.scalars(firsts)).all()
        if not seqs:
            return []
        async with self._database.write() as connection:
            query = (
                select(webhook_deliveries, *_OF_ENDPOINT)
                .join(webhook_endpoints, webhook_endpoints.c.id == webhook_deliveries.c.endpoint_id)
                .where(due, webhook_deliveries.c.seq.in_(seqs))
                .with_for_update(of=webhook_deliveries, skip_locked=True)
            )
            rows = (await connection.execute(query)).all()
            taken = webhook_deliveries.c.id.in_([row.id for row in rows])
            await connection.execute(
                update(webhook_deliveries)
                .where(taken)
                .values(attempts=webhook_deliveries.c.attempts + 1, next_at=now + lease)
            )
        return [_delivery(row, now=now) for row in rows]

    async def record(self, delivery: Delivery, outcome: LastDelivery) -> bool:
        """Write how an attempt went; False where another sender has the delivery by now, or it is gone."""
        next_at = outcome.next_attempt_at
        async with self._database.write() as connection:
            done = await connection.execute(
                update(webhook_deliveries)
                .where(
                    webhook_deliveries.c.id == delivery.id,
                    webhook_deliveries.c.attempts == delivery.attempts,
                    webhook_deliveries.c.status == "pending",
                )
                .values(
                    status=outcome.status,
                    next_at=float(outcome.attempted_at if next_at is None else next_at),
                )
            )
            if done.rowcount == 1:
                await connection.execute(
                    update(webhook_endpoints)
                    .where(webhook_endpoints.c.id == delivery.endpoint_id)
                    .values(last_delivery=outcome.model_dump_json())
                )
        return done.rowcount == 1

    async def forget(self, *, created_before: int, now: int) -> None:
        """Delete deliveries of long ago, however they ended, and old secrets whose time is over."""
        async with self._database.write() as connection:
            await connection.execute(
                delete(webhook_deliveries).where(webhook_deliveries.c.created_at < created_before)
            )
            await connection.execute(
                update(webhook_endpoints)
                .where(webhook_endpoints.c.old_secret_until <= now)
                .values(old_secret=None, old_secret_until=None)
            )


_OF_ENDPOINT: Final = (
    webhook_endpoints.c.url,
    webhook_endpoints.c.secret,
    webhook_endpoints.c.old_secret,
    webhook_endpoints.c.old_secret_until,
)


def live_secrets(
    secret: str, *, old: str | None, old_until: int | None, now: float
) -> tuple[str, ...]:
    """Return what to sign with: the secret, and the one before it while that is still good."""
    if old is None or old_until is None or now >= old_until:
        return (secret,)
    return (secret, old)


def _delivery(row: Row[tuple[object, ...]], *, now: float) -> Delivery:
    return Delivery(
        id=row.id,
        endpoint_id=row.endpoint_id,
        event_type=row.event_type,
        url=row.url,
        secrets=live_secrets(
            row.secret, old=row.old_secret, old_until=row.old_secret_until, now=now
        ),
        body=row.body,
        created_at=row.created_at,
        attempts=row.attempts + 1,
    )
