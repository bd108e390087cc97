"""A curve as a small drawing that the server makes: what a row of a list has room for."""

from collections.abc import Sequence
from typing import Final, NamedTuple

WIDTH: Final = 120
HEIGHT: Final = 28
_MARGIN: Final = 2.0
"""For the line's own width."""


class Sparkline(NamedTuple):
    """What a template draws, and says to those who cannot see it."""

    points: str
    """`points` of an SVG polyline in a box of `WIDTH` by `HEIGHT`."""
    first: float
    last: float
    lowest: float


def draw(curve: Sequence[tuple[int, float]]) -> Sparkline | None:
    """Return the drawing of a curve by step; None where a line needs more points."""
    if len(curve) < 2:
        return None
    values = [value for _, value in curve]
    lowest, first_step, last_step = min(values), curve[0][0], curve[-1][0]
    x_scale = (WIDTH - 2 * _MARGIN) / (last_step - first_step)
    y_scale = (HEIGHT - 2 * _MARGIN) / ((max(values) - lowest) or 1.0)
    points = " ".join(
        f"{_MARGIN + (step - first_step) * x_scale:.1f},"
        f"{HEIGHT - _MARGIN - (value - lowest) * y_scale:.1f}"
        for step, value in curve
    )
    return Sparkline(points, first=values[0], last=values[-1], lowest=lowest)
