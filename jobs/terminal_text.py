"""Texts of users and models as a terminal may show them: seen, never obeyed."""

from typing import Final
from unicodedata import category

from rich.text import Text

_DIRECTIONS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the order in which a terminal shows others."""


def visible(text: str) -> Text:
    """Return text that a terminal shows and neither rich nor the terminal obeys."""
    return Text("".join(_escaped(character) for character in text))


def without_middle(text: str, *, longest: int) -> str:
    """Return a text, or its beginning and end where it has more than `longest` characters."""
    if len(text) <= longest:
        return text
    half = longest // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"


def _escaped(character: str) -> str:
    is_plain = character == "\n" or (category(character) != "Cc" and character not in _DIRECTIONS)
    return character if is_plain else repr(character)[1:-1]
