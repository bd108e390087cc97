"""Bytes as they arrive, cut into server-sent events."""

from typing import Final

_BLANK_LINE: Final = b"\n\n"


class EventSplitter:
    """Takes pieces in the order in which they arrive: TCP cuts and joins events as it likes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the events that are whole now, each with the blank line that ends it."""
        *events, self._rest = (self._rest + piece).split(_BLANK_LINE)
        return [event + _BLANK_LINE for event in events]

    @property
    def rest(self) -> bytes:
        """What is there of an event that is not whole yet."""
        return self._rest
