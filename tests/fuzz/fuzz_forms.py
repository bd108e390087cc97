"""Multipart forms: any bytes are a form or refused, and a good form is read the same however the network cuts it."""

from litestar import Request

from api.uploads import receive_part, receive_upload
from schemas.errors import InvalidRequest, PayloadTooLarge
from tests.fuzz.target import fuzz, run_now

BOUNDARY = "b"
CUT = b"|"
"""In the bytes, where the network cuts."""
MAX_BYTES = 64
HEAD = b'--b\r|\nContent-Disp|osition: form-data; name="da|ta"; filename="a"\r|\n\r|\n|'
TAIL = b"|\r|\n-|-b-|-|\r\n"


class Kept:
    """Where a file's bytes go."""

    def __init__(self) -> None:
        self.content = bytearray()

    async def write(self, data: bytes) -> None:
        self.content += data


def forms_survive_any_cut(raw: bytes) -> None:
    """Check some bytes as a file's form, as an upload's part, and as what is in a part."""
    for receive in (receive_upload, receive_part):
        cut, whole = outcome(receive, raw.split(CUT)), outcome(receive, [raw.replace(CUT, b"")])
        # A form with a bad line is refused by some cuts and read by others; it is never read in two ways.
        assert cut == whole or None in {cut, whole}
    content = raw.replace(CUT, b"")
    if b"\r\n--b" not in content + b"\r\n":
        expected = (None, content) if len(content) <= MAX_BYTES else None
        assert outcome(receive_part, (HEAD + raw + TAIL).split(CUT)) == expected


def outcome(receive, pieces: list[bytes]) -> tuple[object, bytes] | None:
    """The form and the file's bytes; None where it is refused."""
    kept = Kept()
    try:
        form = run_now(receive(request(pieces), kept, max_bytes=MAX_BYTES))
    except (InvalidRequest, PayloadTooLarge):
        return None
    assert len(kept.content) <= MAX_BYTES
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
