"""Comparing two texts, yes or no."""

from typing import assert_never

from schemas.graders import Operation


def is_match(input: str, reference: str, operation: Operation) -> bool:
    """Tell whether `input` compares with `reference` as asked.

    `like` asks whether the reference is contained, `ilike` the same without regard to case: full case folding,
    so that `STRASSE` contains `straße`.
    """
    match operation:
        case "eq":
            return input == reference
        case "ne":
            return input != reference
        case "like":
            return reference in input
        case "ilike":
            return reference.casefold() in input.casefold()
    assert_never(operation)
