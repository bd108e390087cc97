"""Multipart forms: any bytes are a form or refused, and the same however the network cuts them."""

from litestar import Request

from api.uploads import receive_part, receive_upload
from schemas.errors import InvalidRequest, PayloadTooLarge
from tests.fuzz.target import fuzz, run_now

BOUNDARY = "b"
CUT = b"|"
"""In the bytes, where the network cuts."""


class Kept:
    """Where a file's bytes go."""

    def __init__(self) -> None:
        self.content = bytearray()

    async def write(self, data: bytes) -> None:
        self.content += data


def forms_survive_any_cut(body: bytes) -> None:
    """Check one body as a file's form and as an upload's part."""
    pieces = body.split(CUT)
    for receive in (receive_upload, receive_part):
        cut, whole = outcome(receive, pieces), outcome(receive, [b"".join(pieces)])
        # What stands before the first boundary is refused or, where the network cuts it off, dropped.
        assert cut == whole or not body.replace(CUT, b"").startswith(b"--b\r\n")


def outcome(receive, pieces: list[bytes]) -> tuple[object, ...]:
    """The form and the file's bytes, or what is wrong: its code and field. The parser's words for it may differ."""
    kept = Kept()
    try:
        form = run_now(receive(request(pieces), kept, max_bytes=64))
    except (InvalidRequest, PayloadTooLarge) as refused:
        return refused.code, refused.param
    assert len(kept.content) <= 64
    return form, bytes(kept.content)


def request(pieces: list[bytes]) -> Request:
    """A request whose body comes in pieces."""
    waiting = list(pieces)

    async def receive() -> dict:
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    content_type = f"multipart/form-data; boundary={BOUNDARY}".encode()
    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}
    return Request(scope, receive)


if __name__ == "__main__":
    fuzz(forms_survive_any_cut)
