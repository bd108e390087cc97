"""Which words of an answer are not another's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.dashboard.word_diff import differing


@pytest.mark.parametrize(
    ("text", "other", "marked"),
    [
        ("the cat sat", "the dog sat", ["cat"]),
        ("the cat sat", "the cat sat", []),
        ("今天天气好", "今天天气很坏", ["好"]),
        ("one, two", "one two", [","]),
        ("a  b", "a b", []),
        ("anything", None, []),
        ("anything", "", ["anything"]),
        ("", "anything", []),
    ],
)
def test_words_that_differ_are_marked(text, other, marked):
    """Words are compared whole, Chinese by the character, and white space is never marked."""
    assert [piece.text for piece in differing(text, other) if piece.differs] == marked


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200))
def test_nothing_is_lost(text, other):
    """The pieces are the text, whatever it is compared with."""
    assert "".join(piece.text for piece in differing(text, other)) == text
