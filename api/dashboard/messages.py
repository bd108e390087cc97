"""What pages say, in each language: messages by key, numbers and times."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Final, Literal, get_args

from babel.core import Locale, negotiate_locale
from babel.dates import format_date, format_datetime, format_timedelta
from babel.numbers import format_decimal

Language = Literal["en", "zh"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)
NAMES: Final[Mapping[Language, str]] = {"en": "English", "zh": "中文"}
"""Of the languages, each in its own."""

_LOCALES: Final[Mapping[Language, Locale]] = {
    "en": Locale.parse("en"),
    "zh": Locale.parse("zh_Hans_CN"),
}


@cache
def catalogue(language: Language) -> Mapping[str, str]:
    """Return all messages of a language by their keys, such as `jobs.title`."""
    text = (files("api.dashboard") / "locales" / f"{language}.json").read_text("utf-8")
    messages: dict[str, str] = json.loads(text)
    return messages


def choose_language(chosen: str | None, accepted: str | None) -> Language:
    """Return the language of a page.

    Args:
        chosen: The reader's own choice, whatever a cookie may say.
        accepted: `Accept-Language` of the browser.
    """
    for language in LANGUAGES:
        if chosen == language:
            return language
    wanted = [part.partition(";")[0].strip() for part in (accepted or "").split(",")]
    found = negotiate_locale(wanted, [*LANGUAGES, "zh_CN"], sep="-")
    return "zh" if (found or "").startswith("zh") else "en"


class Messages:
    """Says things in one language.

    Args:
        language: Which.
    """

    def __init__(self, language: Language) -> None:
        self.language = language
        self._messages = catalogue(language)
        self._locale = _LOCALES[language]

    @property
    def html_lang(self) -> str:
        """As `<html lang>` names it."""
        return "zh-Hans" if self.language == "zh" else "en"

    def __call__(self, key: str, **values: object) -> str:
        """Return a message, its `{names}` filled in.

        Raises:
            KeyError: There is no such message.
        """
        return self._messages[key].format_map(values)

    def find(self, key: str) -> str | None:
        """Return a message that may not be there: what a code means, say."""
        return self._messages.get(key)

    def number(self, value: float, *, digits: int = 0) -> str:
        """Return a number with at most so many decimal digits."""
        pattern = "#,##0" + ("." + "#" * digits if digits else "")
        return format_decimal(value, format=pattern, locale=self._locale)

    def bytes(self, count: int) -> str:
        """Return a size in the unit that fits it."""
        size = float(count)
        for unit in ("B", "KB", "MB", "GB"):
            if size < 1000 or unit == "GB":
                break
            size /= 1000
        return f"{self.number(size, digits=0 if unit == 'B' else 1)} {unit}"

    def when(self, moment: float) -> str:
        """Return a Unix time in full, in UTC."""
        at = datetime.fromtimestamp(moment, UTC)
        return f"{format_datetime(at, 'medium', locale=self._locale)} UTC"

    def day(self, moment: float) -> str:
        """Return the day of UTC that a Unix time is in."""
        return format_date(datetime.fromtimestamp(moment, UTC), "medium", locale=self._locale)

    def ago(self, moment: float, *, now: float) -> str:
        """Return how long before or after `now` a Unix time is."""
        gone = timedelta(seconds=moment - now)
        return format_timedelta(gone, add_direction=True, locale=self._locale)

    def duration(self, seconds: float) -> str:
        """Return a length of time in its largest unit that fits."""
        return format_timedelta(timedelta(seconds=seconds), locale=self._locale)
