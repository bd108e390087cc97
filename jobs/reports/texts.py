"""When two answers are the same, and what their words are: the rules that every measure goes by. Pure."""

import json
import re
from collections.abc import Sequence
from math import isfinite
from typing import Final, NoReturn
from unicodedata import normalize

from schemas.report import Call, Said

# Scripts that put no spaces between words: each character is a word.
_UNSPACED: Final = (
    "\u0e00-\u0e7f\u0e80-\u0eff\u1000-\u109f\u1780-\u17ff"  # Thai, Lao, Burmese, Khmer
    "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana, Chinese
)
_WORD: Final = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")
_CHINESE: Final = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def normalized(text: str) -> str:
    """Return a text as `exact_match` compares it: Unicode's NFC, each run of white space one space, none at the ends.

    Case and punctuation count.
    """
    return " ".join(normalize("NFC", text).split())


def words(text: str) -> list[str]:
    """Return the words of a text in any script, case folded, without punctuation."""
    return _WORD.findall(normalize("NFC", text).casefold())


def writes_chinese(texts: Sequence[str]) -> bool:
    """Whether most of these texts hold Chinese characters."""
    return 2 * sum(1 for text in texts if _CHINESE.search(text)) > len(texts)


def json_value(text: str) -> str | None:
    """Return JSON in a form that is equal where the values are; None where it is no JSON.

    The order of keys does not count, nor does `1.0` for `1`; `true` is not `1`, and NaN is no JSON.
    """
    try:
        value = json.loads(text, parse_float=_number, parse_constant=_refuse)
        return json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):
        return None


def is_json_document(text: str) -> bool:
    """Whether a text is a JSON object or array; a bare number or word may be JSON by accident."""
    return text.lstrip()[:1] in {"{", "["} and json_value(text) is not None


def called(calls: Sequence[Call]) -> list[tuple[str, str]]:
    """Return calls in a form that is equal where names and arguments are, in whatever order.

    Nothing at all is how some models write that there are no arguments.
    """
    written = ((call.name, call.arguments.strip() or "{}") for call in calls)
    return sorted((name, json_value(arguments) or arguments) for name, arguments in written)


def is_same(one: Said, other: Said) -> bool:
    """Whether two answers say and call the same."""
    return normalized(one.text) == normalized(other.text) and called(one.calls) == called(
        other.calls
    )


def _number(text: str) -> int | float:
    value = float(text)
    if not isfinite(value):
        _refuse(text)
    return int(value) if value.is_integer() else value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is beyond what JSON's readers agree on")
