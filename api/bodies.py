"""Requests to values: what a body or a query string must be before a route sees it."""

import json
import re
from collections.abc import AsyncIterator
from math import isfinite
from typing import Final, NoReturn, TypeVar

from litestar import Request
from litestar.datastructures import State
from litestar.types import Receive
from pydantic import BaseModel, JsonValue, ValidationError

from api.validation import invalid_request
from jobs.keys import Caller
from schemas.base import Metadata, Schema
from schemas.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType

ApiRequest = Request[Caller, None, State]
"""A request whose key has been found good."""

JOB_BYTES: Final = 256 * 1024
CHAT_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 64

_NOT_JSON: Final = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was "
    "not valid JSON.)"
)
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
"""A JSON string, or what an unfinished one leaves. Possessive: linear in time on any input."""
_NUL_ESCAPE: Final = re.compile(rb"(?<!\\)(?:\\\\)*+\\u0000")
_OPENING_AND_CLOSING: Final = bytes.maketrans(b"{}", b"[]")
_NO_BRACKET: Final = bytes(set(range(256)) - set(b"[]{}"))

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


async def parse_body(request: ApiRequest, model: type[_Model], *, limit: int) -> _Model:
    """Read a JSON body as a `model`.

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
    return validated(model, decode_json(body))


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


def validated(model: type[_Model], value: JsonValue) -> _Model:
    """Return `value` as a `model`.

    Raises:
        InvalidRequest: It does not fit; the first misfit in OpenAI's words.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise invalid_request(exc, value) from exc


def decode_json(body: bytes) -> JsonValue:
    """Decode what may come from anyone.

    Stricter than `json.loads`: UTF-8 only, at most `MAX_DEPTH` levels, no NaN or infinity (written
    out or by overflow), no lone surrogates and no NUL, which databases do not store, and no name
    twice in an object, about which parsers disagree.

    Raises:
        InvalidRequest: It is not JSON, or one of the above.
    """
    if not _is_nested_within(body, MAX_DEPTH):
        raise InvalidRequest(f"{_NOT_JSON} It is unbalanced or nests deeper than {MAX_DEPTH}.")
    if b"\\u0000" in body and _NUL_ESCAPE.search(body):
        raise InvalidRequest("Invalid JSON body: strings must not hold the NUL character.")
    try:
        text = body.decode()
        value: JsonValue = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # fails on a lone surrogate
    except ValueError as exc:
        raise InvalidRequest(_NOT_JSON) from exc
    return value


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is too large: this endpoint takes at most {limit} bytes."
    )


def _is_nested_within(body: bytes, limit: int) -> bool:
    """Tell whether the brackets outside strings pair up within `limit` levels."""
    brackets = _STRING.sub(b"", body).translate(_OPENING_AND_CLOSING, _NO_BRACKET)
    for _ in range(limit):
        length = len(brackets)
        brackets = brackets.replace(b"[]", b"")  # takes off the innermost level everywhere
        if len(brackets) == length:
            break
    return not brackets


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _finite(digits: str) -> float:
    number = float(digits)
    if not isfinite(number):
        raise ValueError(digits)
    return number


def _without_repeats(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) < len(pairs):
        raise ValueError("repeated name")
    return members


_DECODER: Final = json.JSONDecoder(
    parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_without_repeats
)
