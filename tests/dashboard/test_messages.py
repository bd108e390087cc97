"""What pages say: the same in each language, and nothing that is missing."""

import re
from pathlib import Path

import pytest

from api.dashboard.messages import LANGUAGES, Messages, catalogue, choose_language

DASHBOARD = Path(__file__).parents[2] / "api" / "dashboard"
NAMED = re.compile(r"""\bt\(\s*["']([\w.]+)["']\s*[,)]""")
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_the_same(language):
    """Each catalogue has the keys of the English one, sorted, with the same placeholders, and no empty text."""
    english, other = catalogue("en"), catalogue(language)
    assert list(other) == sorted(english)
    for key, text in other.items():
        assert text.strip()
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(english[key])), key


def test_what_pages_name_is_there():
    """No template and no module names a message that there is not."""
    sources = [*DASHBOARD.rglob("*.html"), *DASHBOARD.rglob("*.py")]
    named = {key for source in sources for key in NAMED.findall(source.read_text())}
    assert named
    assert named - set(catalogue("en")) == set()


def test_every_message_is_said_somewhere():
    """No catalogue keeps what no page says; keys that are put together are known by their beginning."""
    sources = [*DASHBOARD.rglob("*.html"), *DASHBOARD.rglob("*.py"), *DASHBOARD.rglob("*.js")]
    text = "".join(source.read_text() for source in sources)
    beginnings = set(re.findall(r"""["']([\w.]+\.)["'] ~""", text))
    beginnings |= set(re.findall(r"""f["']([\w.]+\.)\{""", text))
    unsaid = [
        key
        for key in catalogue("en")
        if f'"{key}"' not in text
        and f"'{key}'" not in text
        and not any(key.startswith(beginning) for beginning in beginnings)
    ]
    assert unsaid == []


@pytest.mark.parametrize(
    ("chosen", "accepted", "language"),
    [
        (None, None, "en"),
        (None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        (None, "zh-Hant-TW", "zh"),
        (None, "fr-FR,zh;q=0.5", "zh"),
        (None, "fr-FR", "en"),
        (None, ";;;,,", "en"),
        ("en", "zh-CN", "en"),
        ("zh", "en", "zh"),
        ("xx", "zh", "zh"),
    ],
)
def test_the_language_is_chosen_or_the_browsers(chosen, accepted, language):
    """A choice comes first, then what the browser asks for, then English."""
    assert choose_language(chosen, accepted) == language


def test_numbers_and_times_follow_the_language():
    """Sizes, counts and times are written as the language writes them."""
    english, chinese = Messages("en"), Messages("zh")
    assert english.number(1234567.891, digits=2) == "1,234,567.89"
    assert [english.bytes(size) for size in (0, 999, 1000, 5_400_000)] == [
        "0 B",
        "999 B",
        "1 KB",
        "5.4 MB",
    ]
    assert english.ago(100, now=100 + 7200) == "2 hours ago"
    assert chinese.ago(100, now=100 + 7200) == "2小时前"
    assert english.when(0).startswith("Jan 1, 1970")
