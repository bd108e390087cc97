"""Texts of users and models as a terminal may show them: seen, never obeyed."""

import re
from typing import Final
from unicodedata import category

from rich.text import Text

_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the order in which a terminal shows others."""

_CUT: Final = re.compile(r" \[…(\d[\d,]*) characters…\] ")


def visible(text: str) -> Text:
    """Return text that a terminal shows and neither rich nor the terminal obeys."""
    return Text("".join(_escaped(character) for character in text))


def without_middle(text: str, *, longest: int) -> str:
    """Return a text, or its beginning and end where it has more than `longest` characters.

    What is cut again tells how much is missing of the text that it once was.
    """
    if len(text) <= longest:
        return text
    half = longest // 2
    missing = len(text) - 2 * half
    for cut in _CUT.finditer(text, half, len(text) - half):
        missing += int(cut[1].replace(",", "")) - len(cut[0])
    return f"{text[:half]} […{missing:,} characters…] {text[-half:]}"


def _escaped(character: str) -> str:
    is_plain = character == "\n" or (category(character) != "Cc" and character not in _DIRECTIONS)
    return character if is_plain else repr(character)[1:-1]
