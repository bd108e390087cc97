"""Conversations made short, as anyone may send them back: what was packed comes out, all else is refused."""

from jobs.responses.compaction import pack, unpack
from schemas.chat import UserMessage
from schemas.errors import InvalidRequest
from tests.fuzz.target import fuzz


def compactions_keep_their_word(text: str) -> None:
    """Check one text, as what is sent back and as what was said."""
    try:
        messages = unpack(text)
    except InvalidRequest:
        pass
    else:
        assert messages[-1].role == "assistant"
        assert unpack(pack(messages, messages[-1].content).encrypted_content) == messages
    said = UserMessage(role="user", content=text)
    if "\0" not in text:  # refused long before
        told = unpack(pack([said], "summary").encrypted_content)
        assert told[0] == said


if __name__ == "__main__":
    fuzz(compactions_keep_their_word)
