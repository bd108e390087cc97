"""The decoder that every JSON body passes."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import InvalidRequest
from schemas.strict_json import MAX_DEPTH, decode_json

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=20,
)


@given(st.binary(max_size=200))
def test_any_bytes(body: bytes) -> None:
    """Any bytes are decoded or refused; nothing else happens."""
    with suppress(InvalidRequest):
        decode_json(body)


@given(st.text(alphabet='[]{}",:\\u0d8Na1e- \0', max_size=60))
def test_almost_json(body: str) -> None:
    """What looks like JSON is decoded just where Python's own decoder does, or refused."""
    try:
        value = decode_json(body.encode())
    except InvalidRequest:
        return
    assert value == json.loads(body)


@given(values)
def test_round_trip(value: object) -> None:
    """What is JSON comes out as it went in, escaped or not."""
    assert decode_json(json.dumps(value).encode()) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("brackets", ["[]", "{}"])
def test_depth(brackets: str) -> None:
    """Values nest up to the limit, and brackets in strings do not count."""
    opening, closing = ("[", "]") if brackets == "[]" else ('{"[{":', "}")
    allowed = opening * (MAX_DEPTH - 1) + brackets + closing * (MAX_DEPTH - 1)
    assert decode_json(allowed.encode())
    assert decode_json(f'["{"[" * 1000}\\"{"{" * 1000}"]'.encode())
    with pytest.raises(InvalidRequest, match="deeper than 64"):
        decode_json((opening + allowed + closing).encode())


@pytest.mark.parametrize(
    "body", [b'"' * 4_000_001, b'"' + b"\\" * 4_000_001, b'"\\' * 2_000_000, b"[" * 4_000_000]
)
@pytest.mark.timeout(20)
def test_hostile_bytes_take_linear_time(body: bytes) -> None:
    """Four megabytes made to be slow are refused as fast as others."""
    with pytest.raises(InvalidRequest):
        decode_json(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'"\\\\u0000"', "\\u0000"),
        (b'"\\ud83d\\ude42"', "🙂"),
        (b"1E3", 1000.0),
        (b' {"a" : [ ] } ', {"a": []}),
    ],
)
def test_allowed(body: bytes, value: object) -> None:
    """What only resembles something refused is let through."""
    assert decode_json(body) == value
