"""Sending what the outbox holds: each delivery until its endpoint takes it, or for 72 hours."""

import asyncio
import logging
import time
from secrets import randbelow
from typing import Final

from jobs.services import Services
from jobs.store.outbox import Delivery
from jobs.webhooks.backoff import next_attempt_at
from jobs.webhooks.sender import Attempt
from jobs.webhooks.signing import signed_headers
from schemas.errors import ApiError
from schemas.webhooks import DeliveryStatus, LastDelivery

logger = logging.getLogger(__name__)

LEASE: Final = 30.0
"""Seconds: longer than an attempt takes. A killed worker's delivery is made again after it."""
_ENDPOINTS_AT_ONCE: Final = 64
"""One delivery at a time to each: who is slow waits for nobody but himself."""
_LOOK_EVERY: Final = 1.0
_FORGET_EVERY: Final = 3600.0
_KEPT: Final = 7 * 24 * 3600
"""Seconds after an event; by then each delivery has long ended."""


class Deliveries:
    """One process's share of the sending."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._busy: set[str] = set()
        self._freed = asyncio.Event()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._forget())
            while True:
                self._freed.clear()
                for delivery in await self._due():
                    self._busy.add(delivery.endpoint_id)
                    group.create_task(self._send(delivery))
                await self._rest()

    async def _due(self) -> list[Delivery]:
        room = _ENDPOINTS_AT_ONCE - len(self._busy)
        if room == 0:
            return []
        try:
            return await self._services.store.outbox.claim(
                now=time.time(), lease=LEASE, busy=frozenset(self._busy), limit=room
            )
        except (OSError, ApiError) as exc:
            logger.warning("webhooks wait: %r", exc)
            return []

    async def _send(self, delivery: Delivery) -> None:
        try:
            await deliver(self._services, delivery)
        except (OSError, ApiError) as exc:
            logger.warning("left to its lease: webhook_id=%s %r", delivery.id, exc)
        except Exception:
            # The worker's edge: one delivery that breaks must not end the trainings beside it.
            logger.exception("left to its lease: webhook_id=%s", delivery.id)
        finally:
            self._busy.discard(delivery.endpoint_id)
            self._freed.set()

    async def _rest(self) -> None:
        """Wait a moment, or until an endpoint is free for its next delivery."""
        try:
            async with asyncio.timeout(_LOOK_EVERY):
                await self._freed.wait()
        except TimeoutError:
            return

    async def _forget(self) -> None:
        while True:
            now = int(time.time())
            try:
                await self._services.store.outbox.forget(created_before=now - _KEPT, now=now)
            except (OSError, ApiError) as exc:
                logger.warning("old deliveries stay a while: %r", exc)
            await asyncio.sleep(_FORGET_EVERY)


async def deliver(services: Services, delivery: Delivery) -> None:
    """Make one attempt at a claimed delivery, and write how it went.

    Raises:
        StoreUnavailable: It could not be written: the delivery will be made again, with the same id.
    """
    now = int(time.time())
    headers = signed_headers(delivery.id, delivery.body, secrets=delivery.secrets, now=now)
    attempt = await services.webhooks.send(delivery.url, delivery.body, headers)
    outcome = outcome_of(delivery, attempt, now=time.time(), dice=randbelow(1000) / 1000)
    if not await services.store.outbox.record(delivery, outcome):
        logger.info("no longer ours: webhook_id=%s", delivery.id)
    elif outcome.status == "given_up":
        logger.warning("given up: webhook_id=%s endpoint_id=%s", delivery.id, delivery.endpoint_id)


def outcome_of(delivery: Delivery, attempt: Attempt, *, now: float, dice: float) -> LastDelivery:
    """Return what an attempt makes of its delivery.

    Args:
        delivery: As it was claimed.
        attempt: How it went.
        now: Unix seconds.
        dice: Uniform in [0, 1).
    """
    next_at = None
    if attempt.error is not None:
        next_at = next_attempt_at(
            delivery.attempts,
            created_at=delivery.created_at,
            now=now,
            retry_after=attempt.retry_after,
            dice=dice,
        )
    failed: DeliveryStatus = "given_up" if next_at is None else "pending"
    return LastDelivery(
        webhook_id=delivery.id,
        event_type=delivery.event_type,
        status="delivered" if attempt.error is None else failed,
        attempts=delivery.attempts,
        attempted_at=int(now),
        next_attempt_at=None if next_at is None else int(next_at),
        status_code=attempt.status_code,
        error=attempt.error,
    )
