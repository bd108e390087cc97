"""The results of `make bench-methods` for readers: a table in Markdown and a plot as SVG."""

import math
import statistics
from collections.abc import Iterable
from html import escape
from typing import NamedTuple

from tests.bench.methods.results import Configuration, Result

_WIDTH, _HEIGHT = 760, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 40, 60, 60
_SHARES = (0.0001, 0.001, 0.01, 0.1, 1.0)
"""Of the parameters: the ticks of the horizontal axis, which is logarithmic."""
_LOWEST_SHARE = 0.0002
_SEEN, _UNSEEN = "#1f6f54", "#b4560f"


class Row(NamedTuple):
    """Means over the seeds of one configuration."""

    configuration: Configuration
    n_seeds: int
    share: float
    """Of the base's parameters."""
    seen: float
    unseen: float
    cpu_seconds: float
    peak_bytes: int
    saved_bytes: int

    @property
    def score(self) -> float:
        """By which the best rate is chosen."""
        return self.seen + self.unseen


def rows(results: Iterable[Result], *, n_parameters: int) -> list[Row]:
    """Return a row for each configuration: whole models last, else by parameters."""
    by_configuration: dict[Configuration, list[Result]] = {}
    for result in results:
        by_configuration.setdefault(result.configuration, []).append(result)
    found = [
        Row(
            configuration=configuration,
            n_seeds=len(of_one),
            share=of_one[0].trained.trained_parameters / n_parameters,
            seen=statistics.mean(result.seen for result in of_one),
            unseen=statistics.mean(result.unseen for result in of_one),
            cpu_seconds=statistics.mean(result.trained.cpu_seconds for result in of_one),
            peak_bytes=max(result.trained.peak_bytes for result in of_one),
            saved_bytes=of_one[0].trained.saved_bytes,
        )
        for configuration, of_one in by_configuration.items()
    ]
    return sorted(found, key=lambda row: (row.share, row.configuration.learning_rate))


def best_full(table: list[Row]) -> Row:
    """Return full fine-tuning at its best rate."""
    return max((row for row in table if row.configuration.is_full), key=lambda row: row.score)


def markdown(table: list[Row]) -> str:
    """Return a line for each configuration, beside full fine-tuning at its best rate."""
    best = best_full(table)
    lines = [
        (
            "| trained | of the parameters | rate | seeds | seen wording | unseen wording "
            "| of full's accuracy | CPU-s | less time | peak memory | saved |"
        ),
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.configuration.name} | {row.share:.2%} | {row.configuration.learning_rate:.1e} | {row.n_seeds} "
        f"| {row.seen:.2f} | {row.unseen:.2f} | {row.seen / best.seen:.0%} / {row.unseen / best.unseen:.0%} "
        f"| {row.cpu_seconds:.0f} | {1 - row.cpu_seconds / best.cpu_seconds:.0%} "
        f"| {row.peak_bytes / 1e9:.2f} GB | {row.saved_bytes / 1e6:.2f} MB |"
        for row in table
    ]
    return "\n".join(lines)


def svg(table: list[Row], *, title: str) -> str:
    """Return accuracy over the share of parameters that train; dashed is full fine-tuning at its best rate."""
    full = best_full(table)
    adapters = [row for row in table if not row.configuration.is_full]
    marks = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img"',
        'font-family="system-ui, sans-serif" font-size="13">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="22" font-size="15" font-weight="600" fill="#222">{escape(title)}</text>',
        *_axes(),
        *_legend(),
        *_series([(row.share, row.seen) for row in adapters], full.seen, _SEEN),
        *_series([(row.share, row.unseen) for row in adapters], full.unseen, _UNSEEN),
        "</svg>",
    ]
    return "\n".join(marks) + "\n"


def _x(share: float) -> float:
    span = math.log(_SHARES[-1] / _LOWEST_SHARE)
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * math.log(share / _LOWEST_SHARE) / span


def _y(accuracy: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - accuracy)


def _axes() -> Iterable[str]:
    for accuracy in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        y = _y(accuracy)
        yield f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e3e3"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#555">{accuracy:.1f}</text>'
    for share in _SHARES[1:]:
        x = _x(share)
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}" stroke="#e3e3e3"/>'
        yield (
            f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle" fill="#555">'
            f"{share * 100:g} %</text>"
        )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield (
        f'<text x="{middle}" y="{_HEIGHT - 14}" text-anchor="middle" fill="#222">'
        "parameters that train, of the base's</text>"
    )


def _legend() -> Iterable[str]:
    names = ((_SEEN, "wording of the training file"), (_UNSEEN, "wording never seen"))
    for place, (color, name) in enumerate(names):
        x = _LEFT + 210 * place
        yield f'<circle cx="{x + 6}" cy="40" r="5" fill="{color}"/>'
        yield f'<text x="{x + 16}" y="44" fill="#222">{name}</text>'
    x = _LEFT + 400
    yield f'<line x1="{x}" x2="{x + 26}" y1="40" y2="40" stroke="#777" stroke-dasharray="6 4" stroke-width="2"/>'
    yield f'<text x="{x + 34}" y="44" fill="#222">full fine-tuning at its best rate</text>'


def _series(points: list[tuple[float, float]], full: float, color: str) -> Iterable[str]:
    y = _y(full)
    yield (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{color}" '
        'stroke-dasharray="6 4" stroke-width="1.5"/>'
    )
    best: dict[float, float] = {}
    for share, accuracy in points:
        best[share] = max(accuracy, best.get(share, 0.0))
    path = " ".join(f"{_x(share):.1f},{_y(accuracy):.1f}" for share, accuracy in best.items())
    yield f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="1.5"/>'
    for share, accuracy in points:
        yield f'<circle cx="{_x(share):.1f}" cy="{_y(accuracy):.1f}" r="5" fill="{color}" fill-opacity="0.85"/>'
