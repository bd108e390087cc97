"""JSON from anyone: one reading, or none."""

import json
import re
from math import isfinite
from typing import Final, NoReturn

from pydantic import JsonValue

from schemas.errors import InvalidRequest

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


def _is_nested_within(body: bytes, limit: int) -> bool:
    """Tell whether the brackets outside strings pair up within `limit` levels.

    Also true of what has too few of them to nest deeper; whether those pair up is seen when it is decoded.
    """
    if body.count(b"[") + body.count(b"{") <= limit:
        return True
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
