"""Numbers by day as a small drawing that the server makes: bars, each of parts that stand on each other."""

from collections.abc import Sequence
from typing import Final, NamedTuple

WIDTH: Final = 600
HEIGHT: Final = 120
_GAP: Final = 0.25
"""Of a bar's place, left free."""
_LEAST: Final = 1.5
"""Of a part that is not nothing: it shall be seen."""


class Part(NamedTuple):
    """A rectangle in a box of `WIDTH` by `HEIGHT`."""

    x: float
    y: float
    width: float
    height: float


def draw(days: Sequence[Sequence[float]]) -> list[list[Part]]:
    """Return the parts of each day's bar, the first at the bottom; the highest bar fills the box.

    Args:
        days: For each day the sizes of its parts, as many each day, none negative.
    """
    highest = max((sum(sizes) for sizes in days), default=0.0) or 1.0
    place = WIDTH / max(1, len(days))
    return [
        _bar(sizes, x=number * place + place * _GAP / 2, width=place * (1 - _GAP), highest=highest)
        for number, sizes in enumerate(days)
    ]


def _bar(sizes: Sequence[float], *, x: float, width: float, highest: float) -> list[Part]:
    parts, y = [], float(HEIGHT)
    for size in sizes:
        height = max(size / highest * HEIGHT, _LEAST) if size else 0.0
        y = max(0.0, y - height)
        parts.append(Part(round(x, 1), round(y, 1), round(width, 1), round(height, 1)))
    return parts
