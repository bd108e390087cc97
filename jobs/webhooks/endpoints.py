"""What a user can do with webhook endpoints."""

import time
from typing import Final

from jobs.keys import Caller
from jobs.services import Services
from jobs.store.outbox import new_event
from jobs.store.webhooks import EndpointRecord
from jobs.webhooks.signing import new_secret, signed_headers
from schemas.base import CursorPage
from schemas.errors import InvalidRequest
from schemas.ids import new_hex_id, new_id
from schemas.webhooks import (
    EVENT_TYPES,
    Endpoint,
    EndpointCreate,
    EndpointDeleted,
    EndpointTest,
    EndpointTested,
    EndpointUpdate,
    EndpointWithSecret,
    EventType,
    EventTypes,
    SecretRotate,
    secret_hint,
)

_OLD_SECRET_SECONDS: Final = 24 * 3600


async def create(services: Services, caller: Caller, body: EndpointCreate) -> EndpointWithSecret:
    """Make an endpoint, and show its secret this once.

    Raises:
        InvalidRequest: Webhooks must not go to its URL, or the project has endpoints enough.
    """
    services.webhooks.check(body.url)
    now = int(time.time())
    secret = new_secret()
    endpoint = Endpoint(
        id=new_hex_id("whe_"),
        created_at=now,
        updated_at=now,
        name=body.name,
        url=body.url,
        event_types=_each_once(body.event_types),
        signing_secret_hint=secret_hint(secret),
    )
    record = EndpointRecord(endpoint=endpoint, secret=secret)
    await services.store.webhooks.add(record, project_id=caller.project_id)
    return _with_secret(record)


async def list_endpoints(
    services: Services, caller: Caller, *, limit: int, after: str | None
) -> CursorPage[Endpoint]:
    """Return one page of the caller's endpoints, newest first.

    Raises:
        InvalidRequest: `after` is no endpoint of the caller's.
    """
    return await services.store.webhooks.page(
        project_id=caller.project_id, limit=limit, after=after
    )


async def get(services: Services, caller: Caller, endpoint_id: str) -> Endpoint:
    """Return an endpoint of the caller's.

    Raises:
        EndpointNotFound: There is none of that id.
    """
    record = await services.store.webhooks.get(endpoint_id, project_id=caller.project_id)
    return record.endpoint


async def update(
    services: Services, caller: Caller, endpoint_id: str, body: EndpointUpdate
) -> Endpoint:
    """Change what the body names; what is still to be sent goes to the new URL.

    Raises:
        EndpointNotFound: There is none of that id.
        InvalidRequest: Webhooks must not go to its URL.
    """
    if body.url is not None:
        services.webhooks.check(body.url)
    wanted: dict[str, object] = body.model_dump(exclude_none=True)
    if body.event_types is not None:
        wanted["event_types"] = _each_once(body.event_types)
    now = int(time.time())

    def change(record: EndpointRecord) -> EndpointRecord:
        endpoint = record.endpoint.model_copy(update=wanted)
        if endpoint != record.endpoint:
            endpoint = endpoint.model_copy(update={"updated_at": now})
        return record.model_copy(update={"endpoint": endpoint})

    record = await services.store.webhooks.change(endpoint_id, change, project_id=caller.project_id)
    return record.endpoint


async def delete(services: Services, caller: Caller, endpoint_id: str) -> EndpointDeleted:
    """Forget an endpoint, and what was still to be sent to it.

    Raises:
        EndpointNotFound: There is none of that id.
    """
    await services.store.webhooks.delete(endpoint_id, project_id=caller.project_id)
    return EndpointDeleted(id=endpoint_id)


async def rotate_secret(
    services: Services, caller: Caller, endpoint_id: str, body: SecretRotate
) -> EndpointWithSecret:
    """Give an endpoint a new secret, and show it this once; the old one may sign for a day more.

    Raises:
        EndpointNotFound: There is none of that id.
    """
    now = int(time.time())
    secret = new_secret()

    def change(record: EndpointRecord) -> EndpointRecord:
        shown = {"signing_secret_hint": secret_hint(secret), "updated_at": now}
        is_kept = body.keep_old_secret_active_for_24_hours
        return EndpointRecord(
            endpoint=record.endpoint.model_copy(update=shown),
            secret=secret,
            old_secret=record.secret if is_kept else None,
            old_secret_until=now + _OLD_SECRET_SECONDS if is_kept else None,
        )

    record = await services.store.webhooks.change(endpoint_id, change, project_id=caller.project_id)
    return _with_secret(record)


async def test(
    services: Services, caller: Caller, endpoint_id: str, body: EndpointTest
) -> EndpointTested:
    """Send an event about nothing, once, and tell what the endpoint answered.

    Raises:
        EndpointNotFound: There is none of that id.
        InvalidRequest: It did not answer, and why.
    """
    record = await services.store.webhooks.get(endpoint_id, project_id=caller.project_id)
    now = int(time.time())
    event = new_event(body.event_type, _sample_object(body.event_type), now=now).model_dump_json()
    headers = signed_headers(
        new_hex_id("wh_"), event, secrets=record.live_secrets(now=now), now=now
    )
    attempt = await services.webhooks.send(record.endpoint.url, event, headers)
    if attempt.status_code is None:
        raise InvalidRequest(
            f"The test event could not be delivered. {attempt.error}",
            param="url",
            code="webhook_test_failed",
        )
    return EndpointTested(
        event_type=body.event_type,
        status_code=attempt.status_code,
        webhook_endpoint_id=endpoint_id,
    )


def event_types() -> EventTypes:
    """Return what can be subscribed to."""
    return EventTypes(data=list(EVENT_TYPES))


def _each_once(types: list[EventType]) -> list[EventType]:
    return list(dict.fromkeys(types))


def _sample_object(type: EventType) -> str:
    return new_hex_id("batch_") if type.startswith("batch.") else new_id("ftjob-")


def _with_secret(record: EndpointRecord) -> EndpointWithSecret:
    return EndpointWithSecret(**record.endpoint.model_dump(), signing_secret=record.secret)
