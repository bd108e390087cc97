"""When a delivery is tried again. Pure: no clock, no dice."""

from email.utils import parsedate_to_datetime
from typing import Final

TRIED_FOR: Final = 72 * 3600
"""Seconds after the event; then a delivery is given up."""
_FIRST_PAUSE: Final = 5.0
_LONGEST_PAUSE: Final = 4 * 3600.0
_JITTER: Final = 0.2
"""Share of a pause by which it may be longer, so that what failed together does not come back together."""


def next_attempt_at(
    attempts: int, *, created_at: int, now: float, retry_after: float | None, dice: float
) -> float | None:
    """Return when to try again, in Unix seconds, or None where it is time to give up.

    Pauses double from 5 s to 4 h; the last attempt is made 72 h after the event.

    Args:
        attempts: Made so far, at least 1.
        created_at: Unix seconds of the event.
        now: Unix seconds.
        retry_after: Seconds that the receiver asked for; it can make a pause longer, up to 4 h.
        dice: Uniform in [0, 1).
    """
    end = created_at + TRIED_FOR
    if now >= end:
        return None
    # The exponent is capped too: 2.0 ** 2000 would overflow.
    pause = min(_FIRST_PAUSE * 2.0 ** min(attempts - 1, 32), _LONGEST_PAUSE)
    pause *= 1 + _JITTER * dice
    if retry_after is not None:
        pause = max(pause, min(retry_after, _LONGEST_PAUSE))
    return min(now + pause, end)


def parse_retry_after(text: str | None, *, now: float) -> float | None:
    """Return the seconds that a `retry-after` asks for, or None where it is missing or senseless.

    Args:
        text: Seconds, or a date (RFC 9110, section 10.2.3).
        now: Unix seconds.
    """
    if text is None:
        return None
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        seconds = parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None
    return max(0.0, seconds)
