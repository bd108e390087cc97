"""Paths: whatever stands in one, a parameter is what was written into it, or there is no such thing."""

from urllib.parse import quote

from litestar.exceptions import NotFoundException

from api.paths import decoded_parameters
from tests.fuzz.target import fuzz, run_now


def parameters_keep_their_word(text: str) -> None:
    """Check one text, as what a client quotes and as what it sends unquoted."""
    decoded(text)
    for safe in ("", ":", "/:"):
        assert decoded(quote(text, safe=safe)) == (None if "\0" in text else text)


def decoded(written: str) -> str | None:
    """What a route is given of a parameter; None where it is not asked."""
    given: list[str] = []

    async def route(scope, receive, send) -> None:
        given.append(scope["path_params"]["name"])

    try:
        run_now(decoded_parameters(route)({"path_params": {"name": written}}, None, None))
    except NotFoundException:
        return None
    assert "\0" not in given[0]
    given[0].encode()  # can be stored, and looked for
    return given[0]


if __name__ == "__main__":
    fuzz(parameters_keep_their_word)
