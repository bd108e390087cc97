"""pydantic's findings in OpenAI's words: the one table of codes, texts and `param` paths."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from schemas.errors import InvalidRequest

_EXPECTED: Final = {
    "bool_parsing": "a boolean",
    "bool_type": "a boolean",
    "dict_type": "an object",
    "float_parsing": "a decimal",
    "float_type": "a decimal",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_type": "an integer",
    "list_type": "an array",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "none_required": "null",
    "string_type": "a string",
}
"""What was expected, by pydantic's type errors."""

_UNKNOWN: Final = "extra_forbidden"
_MISSING: Final = {"missing", "union_tag_not_found"}
_LITERALS: Final = {"literal_error", "union_tag_invalid"}
_OURS: Final = {
    "array_above_max_length",
    "invalid_parameter_combination",
    "invalid_value",
    "unsupported_parameter",
    "unsupported_value",
}
"""Codes that our schemas raise themselves, as `PydanticCustomError`; `{param}` in their text is filled in."""

_SHOWN_CHARACTERS: Final = 100


_Model = TypeVar("_Model", bound=BaseModel)


class _Finding(NamedTuple):
    path: tuple[str | int, ...]
    """Keys and indices to the value at fault, without pydantic's names for members of unions."""
    error: ErrorDetails


def validated(model: type[_Model], value: JsonValue) -> _Model:
    """Return `value` as a `model`.

    Raises:
        InvalidRequest: It does not fit; the first misfit in OpenAI's words.
    """
    try:
        return model.model_validate(value)
    except ValidationError as exc:
        raise invalid_request(exc, value) from exc


def invalid_request(exc: ValidationError, value: JsonValue) -> InvalidRequest:
    """Return the first thing wrong with `value`, as OpenAI would say it.

    Args:
        exc: What pydantic found.
        value: The decoded body or query that was validated.
    """
    found = [_Finding(_path(error, value), error) for error in exc.errors(include_url=False)]
    first = found[0].path
    # Where several members of a union were tried, the one that got furthest is the one meant.
    path = max((finding.path for finding in found if finding.path[: len(first)] == first), key=len)
    return _in_words(param_name(path), [error for where, error in found if where == path])


def param_name(path: Sequence[str | int]) -> str | None:
    """Write a path as OpenAI does: `messages[0].role`; None for the whole body."""
    name = ""
    for step in path:
        if isinstance(step, int):
            name += f"[{step}]"
        else:
            name += f".{step}" if name else step
    return name[:_SHOWN_CHARACTERS] or None


def _path(error: ErrorDetails, value: JsonValue) -> tuple[str | int, ...]:
    """Keep of pydantic's location the steps that the value has, or that it lacks."""
    path: list[str | int] = []
    current = value
    for step in error["loc"]:
        match step, current:
            case (int(index), list(items)):
                current = items[index]
            case (str(key), dict(members)) if key in members:
                current = members[key]
            case _ if error["type"] != "missing" or step != error["loc"][-1]:
                continue  # pydantic's name for a member of a union
        path.append(step)
    if "discriminator" in error.get("ctx", {}):
        path.append(error["ctx"]["discriminator"].strip("'"))
    return tuple(path)


def _in_words(param: str | None, errors: Sequence[ErrorDetails]) -> InvalidRequest:
    """Put the most telling of the errors on one value first: ours, a bound, then its type."""
    kinds = {error["type"]: error for error in errors}
    if ours := kinds.keys() & _OURS:
        error = kinds[min(ours)]
        text = error["msg"].replace("{param}", str(param))
        return InvalidRequest(text, param=param, code=error["type"])
    if _UNKNOWN in kinds:
        text = f"Unknown parameter: '{param}'."
        return InvalidRequest(text, param=param, code="unknown_parameter")
    if kinds.keys() & _MISSING:
        text = f"Missing required parameter: '{param}'."
        return InvalidRequest(text, param=param, code="missing_required_parameter")
    for kind in kinds.keys() & _BOUNDS.keys():
        code, text = _BOUNDS[kind](kinds[kind])
        return InvalidRequest(f"Invalid '{param}': {text}", param=param, code=code)
    return _wrong_type_or_value(param, errors)


def _wrong_type_or_value(param: str | None, errors: Sequence[ErrorDetails]) -> InvalidRequest:
    given: object = errors[0].get("ctx", {}).get("tag", errors[0]["input"])
    types = list(dict.fromkeys(_EXPECTED[e["type"]] for e in errors if e["type"] in _EXPECTED))
    values = [value for error in errors if error["type"] in _LITERALS for value in _values(error)]
    is_scalar = isinstance(given, str | int | float)
    if values and is_scalar and not types:
        text = f"Invalid value: {_shown(given)}. Supported values are: {_listed(values, 'and')}."
        return InvalidRequest(text, param=param, code="invalid_value")
    if values and isinstance(given, str):
        text = f"Invalid value: {_shown(given)}. Expected {_listed([*types, *values], 'or')}."
        return InvalidRequest(text, param=param, code="invalid_value")
    expected = _listed([*types, *values], "or")
    if not expected:
        return InvalidRequest(f"Invalid '{param}': {errors[0]['msg']}.", param=param)
    several = "one of " if len(types) + len(values) > 1 else ""
    subject = f" for '{param}'" if param else ""
    text = f"Invalid type{subject}: expected {several}{expected}, but got {_kind(given)} instead."
    return InvalidRequest(text, param=param, code="invalid_type")


def _pattern_mismatch(error: ErrorDetails) -> tuple[str, str]:
    pattern = error["ctx"]["pattern"]
    text = f"Expected a string that matches the pattern '{pattern}'."
    return "invalid_value", f"string does not match pattern. {text}"


def _number_out_of_bounds(error: ErrorDetails) -> tuple[str, str]:
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    sign, bound = next((signs[name], error["ctx"][name]) for name in signs if name in error["ctx"])
    noun = "decimal" if isinstance(bound, float) else "integer"
    side, extreme = ("below", "min") if error["type"].startswith("greater") else ("above", "max")
    text = f"Expected a value {sign} {bound}, but got {_shown(error['input'])} instead."
    return f"{noun}_{side}_{extreme}_value", f"{noun} {side} {extreme}imum value. {text}"


def _not_finite(error: ErrorDetails) -> tuple[str, str]:
    return "invalid_value", f"expected a finite number, but got {_shown(error['input'])}."


def _too_short(error: ErrorDetails) -> tuple[str, str]:
    given, least = error["input"], error["ctx"]["min_length"]
    noun, article = ("string", "a") if isinstance(given, str) else ("array", "an")
    code = "string_below_min_length" if noun == "string" else "empty_array"
    expected = f"Expected {article} {noun} with minimum length {least}"
    return code, f"empty {noun}. {expected}, but got an empty {noun} instead."


def _too_long(error: ErrorDetails) -> tuple[str, str]:
    given, most = error["input"], error["ctx"]["max_length"]
    if isinstance(given, dict):
        text = f"Expected an object with at most {most} properties"
        got = f"but got an object with {len(given)} properties instead."
        return "object_above_max_properties", f"too many properties. {text}, {got}"
    noun, article = ("string", "a") if isinstance(given, str) else ("array", "an")
    text = f"Expected {article} {noun} with maximum length {most}"
    got = f"but got {article} {noun} with length {len(given)} instead."
    return f"{noun}_above_max_length", f"{noun} too long. {text}, {got}"


_BOUNDS: Final[dict[str, Callable[[ErrorDetails], tuple[str, str]]]] = {
    "finite_number": _not_finite,
    "greater_than": _number_out_of_bounds,
    "greater_than_equal": _number_out_of_bounds,
    "less_than": _number_out_of_bounds,
    "less_than_equal": _number_out_of_bounds,
    "string_pattern_mismatch": _pattern_mismatch,
    "string_too_long": _too_long,
    "string_too_short": _too_short,
    "too_long": _too_long,
    "too_short": _too_short,
}
"""Code and text, by pydantic's errors on what is of the right type but too much or too little."""


def _values(error: ErrorDetails) -> list[str]:
    """Return the quoted values of pydantic's `'a', 'b' or 'c'`."""
    context = error["ctx"]
    listed: str = context.get("expected") or context["expected_tags"]
    return listed.replace(" or ", ", ").split(", ")


def _listed(words: Sequence[str], conjunction: str) -> str:
    if len(words) <= 2:
        return f" {conjunction} ".join(words)
    return f"{', '.join(words[:-1])}, {conjunction} {words[-1]}"


def _shown(value: object) -> str:
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _kind(value: object) -> str:
    kinds = {
        type(None): "null",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
    }
    return kinds.get(type(value), "an object")
