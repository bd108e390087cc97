"""Formulas such as `0.7 * accuracy + min(style, 0.3)`: how they are read, and what they come to.

    sum      = product { ("+" | "-") product }
    product  = signed { ("*" | "/") signed }
    signed   = { "+" | "-" } power
    power    = atom [ "^" signed ]                      -2^2 is -4, 2^3^2 is 512
    atom     = number | variable | function "(" sum { "," sum } ")" | "(" sum ")"

Every number is a float, so that no exponent takes longer than another, and what was read is a flat list of
steps for a stack, so that no formula is too deep to compute.
"""

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

MAX_CHARACTERS: Final = 4096
MAX_DEPTH: Final = 50
"""Of parentheses and powers within each other."""

_TOKEN: Final = re.compile(
    r"\s*+(?P<text>(?P<number>(?:[0-9]++\.?+[0-9]*+|\.[0-9]++)(?:[eE][+-]?+[0-9]++)?+)"
    r"|(?P<name>[A-Za-z_][A-Za-z_0-9]*+)|[-+*/^(),])"
)
_FUNCTIONS: Final[dict[str, Callable[..., float]]] = {
    "abs": abs,
    "ceil": math.ceil,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "max": max,
    "min": min,
    "sqrt": math.sqrt,
}
_OF_MANY: Final = {"max", "min"}


class FormulaError(ValueError):
    """The formula cannot be read; the text says where and why."""


class UnknownName(LookupError):
    """The formula uses a variable that has no value."""


class NotComputable(ArithmeticError):
    """The formula has no finite real value for these variables, such as 1 / 0."""


class Operation(NamedTuple):
    """Take `arguments` values off the stack, put the function's value on it."""

    function: Callable[..., float]
    arguments: int


@dataclass(frozen=True, slots=True)
class Formula:
    """What a formula computes."""

    steps: tuple[float | str | Operation, ...]
    """In the order of a stack: push a number, push a variable's value, or operate."""

    @property
    def variables(self) -> frozenset[str]:
        """The names that need a value."""
        return frozenset(step for step in self.steps if isinstance(step, str))


def parse_formula(source: str) -> Formula:
    """Read a formula.

    Raises:
        FormulaError: It follows no rule of the grammar, or is larger than we take.
    """
    if len(source) > MAX_CHARACTERS:
        raise FormulaError(f"it is longer than {MAX_CHARACTERS} characters")
    return Formula(_Reader(source).read())


def evaluate(formula: Formula, variables: Mapping[str, float]) -> float:
    """Compute a formula; the result is finite.

    Raises:
        UnknownName: A variable has no value.
        NotComputable: There is no such number.
    """
    if missing := formula.variables - variables.keys():
        raise UnknownName(min(missing))
    stack: list[float] = []
    for step in formula.steps:
        if isinstance(step, Operation):
            arguments = stack[-step.arguments :]
            del stack[-step.arguments :]
            stack.append(_operate(step, arguments))
        else:
            stack.append(variables[step] if isinstance(step, str) else step)
    return stack[0]


def _operate(operation: Operation, arguments: list[float]) -> float:
    try:
        value = float(operation.function(*arguments))
    except (ValueError, ArithmeticError) as exc:
        raise NotComputable(str(exc)) from exc
    if not math.isfinite(value):
        raise NotComputable("the result is not finite")
    return value


class _Reader:
    """One pass over one formula."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._position = 0
        self._depth = 0
        self._steps: list[float | str | Operation] = []
        self._token = self._match()

    def read(self) -> tuple[float | str | Operation, ...]:
        self._sum()
        if self._token is not None:
            raise self._expected("an operator or the end")
        return tuple(self._steps)

    def _sum(self) -> None:
        self._product()
        while function := _SUMS.get(self._symbol):
            self._advance()
            self._product()
            self._steps.append(Operation(function, 2))

    def _product(self) -> None:
        self._signed()
        while function := _PRODUCTS.get(self._symbol):
            self._advance()
            self._signed()
            self._steps.append(Operation(function, 2))

    def _signed(self) -> None:
        is_negative = False
        while (sign := self._symbol) in {"+", "-"}:
            is_negative ^= sign == "-"
            self._advance()
        self._power()
        if is_negative:
            self._steps.append(Operation(operator.neg, 1))

    def _power(self) -> None:
        self._atom()
        if self._symbol == "^":
            self._advance()
            self._nested(self._signed)
            # Not `**`, which leaves the real numbers: (-1) ** 0.5.
            self._steps.append(Operation(math.pow, 2))

    def _atom(self) -> None:
        token = self._token
        if token is None or not (token["number"] or token["name"] or token["text"] == "("):
            raise self._expected("a number, a variable, a function or '('")
        self._advance()
        if token["number"]:
            self._steps.append(self._finite(token["number"]))
        elif token["text"] == "(":
            self._nested(self._sum)
            self._close()
        elif self._symbol == "(":
            self._advance()
            self._call(token["name"])
        else:
            self._steps.append(token["name"])

    def _call(self, name: str) -> None:
        function = _FUNCTIONS.get(name)
        if function is None:
            known = ", ".join(sorted(_FUNCTIONS))
            raise FormulaError(f"there is no function '{name[:40]}'; there are {known}")
        self._nested(self._sum)
        arguments = 1
        while self._symbol == ",":
            self._advance()
            self._nested(self._sum)
            arguments += 1
        self._close()
        if arguments > 1 and name not in _OF_MANY:
            raise FormulaError(f"'{name}' takes one argument, but got {arguments}")
        if arguments > 1 or name not in _OF_MANY:
            self._steps.append(Operation(function, arguments))

    def _nested(self, rule: Callable[[], None]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FormulaError(f"it nests deeper than {MAX_DEPTH} levels")
        rule()
        self._depth -= 1

    def _close(self) -> None:
        if self._symbol != ")":
            raise self._expected("an operator or ')'")
        self._advance()

    @property
    def _symbol(self) -> str:
        """The token that is next, empty at the end."""
        return self._token["text"] if self._token else ""

    def _advance(self) -> None:
        assert self._token is not None
        self._position = self._token.end()
        self._token = self._match()

    def _match(self) -> re.Match[str] | None:
        token = _TOKEN.match(self._source, self._position)
        if token is None and self._source[self._position :].strip():
            raise self._expected("a number, a name or an operator")
        return token

    def _expected(self, what: str) -> FormulaError:
        rest = self._source[self._position :].lstrip()
        got = f"'{rest[:20]}'" if rest else "the end"
        return FormulaError(f"expected {what} at character {self._position}, but got {got}")

    @staticmethod
    def _finite(digits: str) -> float:
        number = float(digits)
        if not math.isfinite(number):
            raise FormulaError(f"the number '{digits[:20]}' is too large")
        return number


_SUMS: Final = {"+": operator.add, "-": operator.sub}
_PRODUCTS: Final = {"*": operator.mul, "/": operator.truediv}
