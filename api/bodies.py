"""Requests to values: what a body or a query string must be before a route sees it."""

import re
from collections.abc import AsyncIterator, Mapping
from typing import Final, TypeVar, get_origin

from litestar import Request
from litestar.datastructures import State
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
    """Read the query string as a `model`; the last of a repeated name counts, others are let be.

    Raises:
        InvalidRequest: A value is not what the model asks for.
    """
    given: dict[str, JsonValue] = {}
    for name, values in request.query_params.dict().items():
        if name in model.model_fields:
            given[name] = values[-1]
            if "\0" in values[-1]:
                raise InvalidRequest(
                    f"Invalid '{name}': it must not hold the NUL character.",
                    param=name,
                    code="invalid_value",
                )
    return validated(model, given)


def parse_lists(request: ApiRequest, model: type[_Model]) -> _Model:
    """Read the query string as a `model` some of whose fields are lists: `names[]=a&names[]=b`.

    Raises:
        InvalidRequest: A value is not what the model asks for.
    """
    given: dict[str, JsonValue] = {}
    for name, values in request.query_params.dict().items():
        field = model.model_fields.get(name.removesuffix("[]"))
        if field is not None and not any("\0" in value for value in values):
            is_list = get_origin(field.annotation) is list
            given[name.removesuffix("[]")] = list(values) if is_list else values[-1]
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
