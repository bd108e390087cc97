"""Events of an engine's streams: any text becomes events that OpenAI's clients can read, or is refused."""

import json

from pydantic import ValidationError

from schemas.errors import ModelServerUnavailable
from serving.answers import DONE, Envelope, rewrite_event
from serving.text_answers import TextEnvelope, rewrite_text_event
from tests.fuzz.target import fuzz

NAMES = {"id": "chatcmpl-1", "model": "nano", "system_fingerprint": "fp_1", "include_usage": True}
REWRITERS = (
    lambda event: rewrite_event(event, Envelope(**NAMES)),
    lambda event: rewrite_event(event, Envelope(**NAMES, calls_functions=True)),
    lambda event: rewrite_text_event(event, TextEnvelope(**NAMES, has_logprobs=True)),
)


def only_clean_events_come_out(text: str) -> None:
    """Check one text, once as it is and once as what an event carries."""
    for event in (text.encode(), b"data: " + text.encode() + b"\n\n"):
        for rewrite in REWRITERS:
            try:
                told = rewrite(event)
            except (ModelServerUnavailable, ValidationError):
                continue
            if told in {event, DONE}:
                assert event.removeprefix(b"data: ").strip() == b"[DONE]"
                continue
            *events, rest = told.split(b"\n\n")
            assert rest == b""
            for one in events:
                body = json.loads(one.removeprefix(b"data: "))
                assert (body["id"], body["model"]) == ("chatcmpl-1", "nano")


if __name__ == "__main__":
    fuzz(only_clean_events_come_out)
