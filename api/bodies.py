"""Requests to values: what a body or a query string must be before a route sees it."""

import re
from collections.abc import AsyncIterator, Mapping
from functools import cache
from typing import Final, TypeVar, get_origin

from litestar import Request
from litestar.datastructures import State
from litestar.handlers import BaseRouteHandler
from litestar.types import Receive
from pydantic import BaseModel, JsonValue

from jobs.keys import Caller
from schemas.base import Metadata, Schema
from schemas.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from schemas.strict_json import decode_json
from schemas.validation import validated

ApiRequest = Request[Caller, None, State]
"""A request whose key has been found good."""

JOB_BYTES: Final = 256 * 1024
CHAT_BYTES: Final = 4 * 1024 * 1024

_DEEP_METADATA: Final = re.compile(r"metadata\[([^\0]*)\]")

_Model = TypeVar("_Model", bound=BaseModel)


class MetadataFilter(Schema):
    """`metadata` of a query."""

    metadata: Metadata


class ClientGone(InvalidRequest):
    """The client hung up before its request was whole; nobody will read the answer."""


async def body_chunks(receive: Receive, *, limit: int) -> AsyncIterator[bytes]:
    """Yield a body of at most `limit` bytes as it comes.

    Raises:
        PayloadTooLarge: There is more.
        ClientGone: It ended before its end.
    """
    size = 0
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone("The client hung up.")
        size += len(message["body"])
        if size > limit:
            raise _too_large(limit)
        if message["body"]:
            yield message["body"]
        more = message["more_body"]


def check_headers(request: ApiRequest, *, limit: int) -> None:
    """Refuse by its headers a body that would be refused anyway, before any of it is read.

    Raises:
        PayloadTooLarge: It announces more than `limit` bytes.
        UnsupportedMediaType: It is compressed: a few bytes could unfold into any number.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise UnsupportedMediaType(
            f"Unsupported content encoding: '{encoding}'. Send the body uncompressed.",
            code="unsupported_content_encoding",
        )
    if (request.content_length or 0) > limit:
        raise _too_large(limit)


async def read_asked(request: ApiRequest) -> BaseModel:
    """Read a route's JSON body as the model that its parameter `asked` is annotated with.

    The annotation is what is parsed, and what the API's description shows. A route that takes more than
    `JOB_BYTES` says so: `@post(max_bytes=…)`.

    Raises:
        ApiError: As `parse_body`.
    """
    route = request.route_handler
    return await parse_body(request, model_of(route, "asked"), limit=max_bytes(route))


def read_params(request: ApiRequest) -> BaseModel:
    """Read a route's query string as the model that its parameter `params` is annotated with.

    Raises:
        InvalidRequest: As `parse_query`.
    """
    return parse_query(request, model_of(request.route_handler, "params"))


@cache
def model_of(route: BaseRouteHandler, parameter: str) -> type[BaseModel]:
    """Return what a route's parameter is annotated with."""
    model: type[BaseModel] = route.parsed_fn_signature.parameters[parameter].annotation
    return model


def max_bytes(route: BaseRouteHandler) -> int:
    """Return the limit of a route's JSON body."""
    limit: int = route.opt.get("max_bytes", JOB_BYTES)
    return limit


async def parse_body(
    request: ApiRequest,
    model: type[_Model],
    *,
    limit: int,
    decided: Mapping[str, JsonValue] | None = None,
) -> _Model:
    """Read a JSON body as a `model`.

    Args:
        request: Its body unread.
        model: What it must be.
        limit: Of its size, in bytes.
        decided: Fields that the path decides, whatever the body says of them.

    Raises:
        ApiError: 400, 413 or 415, in OpenAI's words and with the field at fault.
    """
    check_headers(request, limit=limit)
    media_type, _ = request.content_type
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"Unsupported content type: '{media_type}'. This API method only accepts "
            "'application/json' requests.",
            code="unsupported_content_type",
        )
    body = b"".join([chunk async for chunk in body_chunks(request.receive, limit=limit)])
    value = decode_json(body)
    if decided and isinstance(value, dict):
        value = {**value, **decided}
    return validated(model, value)


def parse_query(request: ApiRequest, model: type[_Model]) -> _Model:
    """Read the query string as a `model`; names that it does not know are let be.

    Of a repeated name the last counts, but a field that is a list takes them all: `names=a&names=b`, with or
    without `[]` behind the name.

    Raises:
        InvalidRequest: A value is not what the model asks for.
    """
    given: dict[str, JsonValue] = {}
    for sent_name, values in request.query_params.dict().items():
        name = sent_name.removesuffix("[]")
        field = model.model_fields.get(name)
        is_list = field is not None and get_origin(field.annotation) is list
        if field is None or (name != sent_name and not is_list):
            continue
        if any("\0" in value for value in values):
            raise InvalidRequest(
                f"Invalid '{name}': it must not hold the NUL character.",
                param=name,
                code="invalid_value",
            )
        given[name] = list(values) if is_list else values[-1]
    return validated(model, given)


def parse_metadata(request: ApiRequest) -> dict[str, str] | None:
    """Read the filter `metadata[key]=value`, repeatable.

    Returns:
        The pairs; none for `metadata=null` or `metadata=`, which ask for what has no metadata; None
        without a filter.
    """
    pairs: dict[str, JsonValue] = {}
    is_asked = False
    for name, value in request.query_params.multi_items():
        if name == "metadata" and value in {"", "null"}:
            is_asked = True
        elif found := _DEEP_METADATA.fullmatch(name):
            pairs[found[1]] = value
            is_asked = True
    return validated(MetadataFilter, {"metadata": pairs}).metadata if is_asked else None


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is too large: this endpoint takes at most {limit} bytes."
    )
