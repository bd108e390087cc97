"""The splitter of event streams: however the bytes are cut, the same events come out, and none is lost."""

from serving.event_stream import EventSplitter
from tests.fuzz.target import fuzz

CUT = "|"
"""In the text, where the network cuts."""


def events_survive_any_cut(text: str) -> None:
    """Check one text."""
    pieces = [piece.encode() for piece in text.split(CUT)]
    splitter = EventSplitter()
    events = [event for piece in pieces for event in splitter.feed(piece)]
    whole = b"".join(pieces)
    assert b"".join(events) + splitter.rest == whole
    assert all(event.endswith(b"\n\n") and b"\n\n" not in event[:-2] for event in events)
    assert b"\n\n" not in splitter.rest
    assert events == EventSplitter().feed(whole)


if __name__ == "__main__":
    fuzz(events_survive_any_cut)
