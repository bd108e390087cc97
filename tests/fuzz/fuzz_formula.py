"""Formulas of multi graders: any text comes to a finite number or is refused, and soon."""

import math

from jobs.graders.formula import (
    FormulaError,
    NotComputable,
    UnknownName,
    evaluate,
    parse_formula,
)
from tests.fuzz.target import fuzz

VARIABLES = {"a": 0.5, "b": -2.0}


def formula_keeps_its_word(source: str) -> None:
    """Check one text."""
    try:
        value = evaluate(parse_formula(source), VARIABLES)
    except (FormulaError, UnknownName, NotComputable):
        return
    assert math.isfinite(value)


if __name__ == "__main__":
    fuzz(formula_keeps_its_word)
