"""Names of tuned models: what is read of one is written as it was, and nothing else is one."""

from schemas.ids import TunedModelName
from tests.fuzz.target import fuzz


def names_keep_their_word(text: str) -> None:
    """Check one text."""
    name = TunedModelName.parse(text)
    assert name is None or str(name) == text
    assert (name is None) <= (not text.startswith("ft:") or text.count(":") != 4)


if __name__ == "__main__":
    fuzz(names_keep_their_word)
