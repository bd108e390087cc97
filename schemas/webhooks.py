"""Webhooks, as `/v1/webhook_endpoints` shows them and as they are delivered."""

from typing import Annotated, Final, Literal, get_args

from pydantic import Field

from schemas.base import RequestBody, Schema

EventType = Literal[
    "batch.completed",
    "batch.failed",
    "batch.expired",
    "batch.cancelled",
    "fine_tuning.job.succeeded",
    "fine_tuning.job.failed",
    "fine_tuning.job.cancelled",
]
"""What is told. OpenAI knows more types, of things that do not happen here; subscribing to them is refused."""

EVENT_TYPES: Final[tuple[EventType, ...]] = get_args(EventType)

WHSEC: Final = "whsec_"
"""Of signing secrets; what follows is base64."""

DeliveryStatus = Literal["pending", "delivered", "given_up"]

_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Url = Annotated[str, Field(min_length=1, max_length=2048)]
_EventTypes = Annotated[list[EventType], Field(min_length=1, max_length=64)]


class EndpointCreate(RequestBody):
    """The body of `POST /v1/webhook_endpoints`."""

    name: _Name
    url: _Url
    event_types: _EventTypes


class EndpointUpdate(RequestBody):
    """The body of `POST /v1/webhook_endpoints/{id}`: what is absent or null stays."""

    name: _Name | None = None
    url: _Url | None = None
    event_types: _EventTypes | None = None


class SecretRotate(RequestBody):
    """The body of `POST /v1/webhook_endpoints/{id}/rotate_secret`."""

    keep_old_secret_active_for_24_hours: bool = False


class EndpointTest(RequestBody):
    """The body of `POST /v1/webhook_endpoints/{id}/test`."""

    event_type: EventType


class LastDelivery(Schema):
    """How the newest attempt at an endpoint went."""

    webhook_id: str
    """The header `webhook-id`, the same at each attempt."""
    event_type: str
    status: DeliveryStatus
    attempts: int
    attempted_at: int
    """Unix seconds."""
    next_attempt_at: int | None
    """Unix seconds; null where there will be none."""
    status_code: int | None
    """Null where no answer came."""
    error: str | None
    """Why it does not count as delivered."""


class Endpoint(Schema):
    """Where a project's events go."""

    id: str
    object: Literal["webhook_endpoint"] = "webhook_endpoint"
    created_at: int
    """Unix seconds."""
    updated_at: int
    """Unix seconds; of the last change of its configuration or secret."""
    name: str
    url: str
    event_types: list[EventType]
    signing_secret_hint: str
    last_delivery: LastDelivery | None = None
    """Not OpenAI's: otherwise nobody could see why nothing arrives."""


class EndpointWithSecret(Endpoint):
    """The same with its secret: shown when that was made, never again."""

    signing_secret: str


class EndpointDeleted(Schema):
    """The answer to `DELETE /v1/webhook_endpoints/{id}`."""

    id: str
    object: Literal["webhook_endpoint.deleted"] = "webhook_endpoint.deleted"
    deleted: Literal[True] = True


class EndpointTested(Schema):
    """The answer to a test: the endpoint answered, with whatever status."""

    object: Literal["webhook_endpoint.test"] = "webhook_endpoint.test"
    event_type: EventType
    status_code: int
    success: Literal[True] = True
    webhook_endpoint_id: str


class EventTypes(Schema):
    """What can be subscribed to."""

    object: Literal["list"] = "list"
    data: list[EventType]


class EventObject(Schema):
    """What an event is about."""

    id: str
    """Of a job or a batch."""


class WebhookEvent(Schema):
    """What is delivered."""

    id: str
    object: Literal["event"] = "event"
    created_at: int
    """Unix seconds."""
    type: EventType
    data: EventObject


def secret_hint(secret: str) -> str:
    """Return a signing secret so that it can be recognised but not used: `whsec_********40c=`."""
    return f"{WHSEC}{'*' * 8}{secret[-4:]}"
