"""What an engine says when it refuses: any text becomes an error of ours, without its name or paths."""

import json
import re

from schemas.errors import InvalidRequest, ModelServerUnavailable
from serving.vllm import _Refusal
from tests.fuzz.target import fuzz


def refusals_are_told(text: str) -> None:
    """Check one text, as an answer and as the message in one, under each kind of status."""
    message = json.dumps({"error": {"message": text}})
    for status in (400, 404, 422, 500):
        for body in (text, message):
            error = _Refusal.parse(status, body.encode()).to_error()
            assert isinstance(error, InvalidRequest | ModelServerUnavailable)
            assert error.message
            assert not re.search(r"\bvllm\b", error.message, re.IGNORECASE)


if __name__ == "__main__":
    fuzz(refusals_are_told)
