"""Headers that hold a key: one of those that were sent is asked about, or the request is refused."""

from api.security import KeyRequired
from schemas.errors import Unauthorized
from tests.fuzz.target import fuzz, run_now

PATH = b"/v1/files"


class Asked(Exception):
    """The key is being looked up."""


def keys_keep_their_word(lines: bytes) -> None:
    """Check some headers, one on each line."""
    headers = [
        (name.strip().lower(), value.strip())
        for name, _, value in (line.partition(b":") for line in lines.splitlines())
    ]
    asked: list[str] = []

    async def authenticate(key: str) -> None:
        asked.append(key)
        raise Asked

    scope = {"type": "http", "method": "GET", "raw_path": PATH, "headers": headers}
    try:
        run_now(KeyRequired(never, authenticate)(scope, None, None))
    except Unauthorized:
        assert not asked
    except Asked:
        (key,) = asked
        assert key.strip()
        sent = [value for name, value in headers if name in {b"authorization", b"api-key"}]
        assert all(value.decode("latin-1").strip().endswith(key.strip()) for value in sent if value)


async def never(scope, receive, send) -> None:
    """Stand behind the door."""
    raise AssertionError("nobody may come here")


if __name__ == "__main__":
    fuzz(keys_keep_their_word)
