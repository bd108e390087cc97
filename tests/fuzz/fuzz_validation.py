"""What pydantic finds, told in OpenAI's words: any JSON is a good request, or refused."""

from contextlib import suppress

from api.app import create_app
from schemas.base import RequestBody
from schemas.errors import InvalidRequest
from schemas.strict_json import decode_json
from schemas.validation import validated
from tests.fuzz.target import fuzz

assert create_app  # with it, everything that can be asked is imported


def every_body(parent: type[RequestBody] = RequestBody) -> list[type[RequestBody]]:
    """All that a client can send, whole bodies and their parts."""
    children = parent.__subclasses__()
    return children + [body for child in children for body in every_body(child)]


BODIES = every_body()


def any_json_is_taken_or_refused(body: bytes) -> None:
    """Check one body, against everything that it could be meant as."""
    try:
        value = decode_json(body)
    except InvalidRequest:
        return
    for model in BODIES:
        with suppress(InvalidRequest):
            assert isinstance(validated(model, value), model)


if __name__ == "__main__":
    fuzz(any_json_is_taken_or_refused)
