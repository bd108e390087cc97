"""JSON bodies: any bytes are refused, or read as `json.loads` reads them, and can be written again."""

import json

from schemas.errors import InvalidRequest
from schemas.strict_json import MAX_DEPTH, decode_json
from tests.fuzz.target import fuzz


def decoder_keeps_its_word(body: bytes) -> None:
    """Check one body."""
    try:
        value = decode_json(body)
    except InvalidRequest:
        return
    assert value == json.loads(body.decode())
    assert depth(value) <= MAX_DEPTH
    written = json.dumps(value, ensure_ascii=False, allow_nan=False)
    assert "\\u0000" not in json.dumps(value).replace("\\\\", "")
    assert decode_json(written.encode()) == value


def depth(value: object) -> int:
    """How many arrays and objects lie in one another."""
    inner = (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    )
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


if __name__ == "__main__":
    fuzz(decoder_keeps_its_word)
