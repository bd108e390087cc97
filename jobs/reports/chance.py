"""What chance alone can do to a difference between two models on the same examples. Pure and seeded."""

from collections.abc import Sequence
from itertools import product
from random import Random
from statistics import fmean
from typing import Final

from schemas.report import Verdict

_RESAMPLES: Final = 4000
_EXACT_UP_TO: Final = 12
"""Differences other than 0 for which all 4,096 signs are tried."""
_SIGNIFICANT: Final = 0.05
_ROUNDING: Final = 1e-12


def bootstrap_interval(differences: Sequence[float], *, seed: int) -> tuple[float, float]:
    """Return the 95 % interval of the mean: percentiles over examples drawn with replacement.

    Paired, as each difference is of one example under both models (Efron and Tibshirani, 1993, chapter 13).

    Args:
        differences: At least one.
        seed: The same gives the same.
    """
    random = Random(seed)  # noqa: S311 - to be repeated, not to be secret
    n = len(differences)
    means = sorted(fmean(random.choices(differences, k=n)) for _ in range(_RESAMPLES))
    return means[int(0.025 * _RESAMPLES)], means[int(0.975 * _RESAMPLES) - 1]


def sign_flip_p(differences: Sequence[float], *, seed: int) -> float:
    """Return how often a mean as far from 0 comes where each difference's sign is chance, two-sided.

    Exact for few differences other than 0, which is where the bootstrap is too sure of itself: that four of
    eight examples became better and none worse happens by chance once in eight times.

    Args:
        differences: At least one.
        seed: Of the signs that are drawn where there are too many to try all.
    """
    changed = [difference for difference in differences if difference]
    observed = abs(sum(changed)) - _ROUNDING
    if len(changed) <= _EXACT_UP_TO:
        sums = [_signed(changed, signs) for signs in product((1, -1), repeat=len(changed))]
        return sum(1 for each in sums if abs(each) >= observed) / len(sums)
    random = Random(seed)  # noqa: S311 - as above
    draws = (random.choices((1, -1), k=len(changed)) for _ in range(_RESAMPLES))
    as_far = sum(1 for signs in draws if abs(_signed(changed, signs)) >= observed)
    # The observed signs are one more draw: a p-value of 0 would claim what was not tried.
    return (as_far + 1) / (_RESAMPLES + 1)


def verdict_of(interval: tuple[float, float], p_value: float) -> Verdict:
    """Return what can be said: something only where interval and test agree."""
    low, high = interval
    if p_value >= _SIGNIFICANT or low <= 0 <= high:
        return "cannot_tell"
    return "better" if low > 0 else "worse"


def _signed(values: Sequence[float], signs: Sequence[int]) -> float:
    return sum(value * sign for value, sign in zip(values, signs, strict=True))
