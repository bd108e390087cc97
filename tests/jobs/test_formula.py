"""Formulas of multi graders: arithmetic, and nothing that could take long."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.graders.formula import (
    MAX_CHARACTERS,
    FormulaError,
    NotComputable,
    UnknownName,
    evaluate,
    parse_formula,
)
from tests.fuzz.fuzz_formula import formula_keeps_its_word

VARIABLES = {"a": 0.5, "b_2": 2.0}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("1", 1.0),
        (" 1 + 2*3 ", 7.0),
        ("(1+2)*3", 9.0),
        ("7-4-2", 1.0),
        ("8/4/2", 1.0),
        ("2^3^2", 512.0),
        ("-2^2", -4.0),
        ("2^-1", 0.5),
        ("--2", 2.0),
        (".5e1 + 1.", 6.0),
        ("0.7*a + 0.3*b_2", 0.95),
        ("min(a, b_2, 1)", 0.5),
        ("max(a)", 0.5),
        ("abs(-a)", 0.5),
        ("floor(1.5) + ceil(1.5)", 3.0),
        ("exp(0) + log(1) + sqrt(4)", 3.0),
    ],
)
def test_value(source: str, value: float) -> None:
    """Operators bind as in mathematics: powers to the right, then signs, products, sums."""
    assert evaluate(parse_formula(source), VARIABLES) == pytest.approx(value)


@pytest.mark.parametrize(
    "source",
    [
        "", " ", "1 +", "* 1", "1 2", "(1", "1)", "min()", "min(1,)", "a b", "1..2", "a$", "a ** 2", "2 % 2",
        "a.b", "a[0]", "'a'", "__import__('os')", "pow(2, 3)", "abs(1, 2)", "1e999", "a if a else b",
        "(" * 60 + "1" + ")" * 60, "2^" * 60 + "2", "1" * (MAX_CHARACTERS + 1),
    ],
    ids=lambda source: source[:20],
)  # fmt: skip
def test_unreadable(source: str) -> None:
    """What the grammar does not have is refused."""
    with pytest.raises(FormulaError):
        parse_formula(source)


@pytest.mark.parametrize(
    "source", ["1/0", "1/(a-a)", "sqrt(-1)", "log(0)", "(-1)^0.5", "9^9^9^9", "exp(9999)", "0^-1"]
)
def test_no_such_number(source: str) -> None:
    """What is no finite real number is told at once, however large it would be."""
    with pytest.raises(NotComputable):
        evaluate(parse_formula(source), VARIABLES)


def test_unknown_variable() -> None:
    """A variable without a value is named."""
    with pytest.raises(UnknownName, match="c"):
        evaluate(parse_formula("a + c"), VARIABLES)


def test_long_sum() -> None:
    """A formula as long as allowed is no deeper than a short one."""
    source = "+".join(["a"] * (MAX_CHARACTERS // 2))
    assert evaluate(parse_formula(source), VARIABLES) == MAX_CHARACTERS // 2 * 0.5


@given(st.text() | st.text(alphabet="0123456789.e+-*/^(),ab minloqrtxp"))
def test_any_text(source: str) -> None:
    """Any text is computed, or refused in words."""
    formula_keeps_its_word(source)


numbers = st.integers(0, 9).map(str)
expressions = st.recursive(
    numbers,
    lambda inner: (
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({''.join(parts)})")
        | inner.map(lambda part: f"-{part}")
    ),
    max_leaves=20,
)


@given(expressions)
def test_agrees_with_python(source: str) -> None:
    """Sums, products and signs come to what Python's own arithmetic makes of them."""
    expected = float(eval(source))  # noqa: S307 - digits, operators and parentheses of our own
    assert math.isclose(evaluate(parse_formula(source), {}), expected)
