"""Where the words of one text are not those of another."""

import re
from typing import Final, NamedTuple

from rapidfuzz.distance import LCSseq

from schemas.completions import ChatCompletion
from schemas.report import Said

# Scripts that put no spaces between words are compared character by character, as reports measure them.
_UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_TOKEN: Final = re.compile(rf"\s+|[{_UNSPACED}]|[^\W{_UNSPACED}]+|.", re.DOTALL)
_MOST_TOKENS: Final = 20_000
"""Of a text. The cost of comparing grows with the square; longer ones are shown without a mark."""


class Piece(NamedTuple):
    """A stretch of a text."""

    text: str
    differs: bool


def differing(text: str, other: str | None) -> list[Piece]:
    """Return `text` in pieces: those that a longest common sequence of words leaves out differ.

    Args:
        text: What is shown.
        other: What it is compared with; None: nothing differs.
    """
    words = _TOKEN.findall(text)
    others = None if other is None else _TOKEN.findall(other)
    if others is None or max(len(words), len(others)) > _MOST_TOKENS:
        return [Piece(text, differs=False)] if text else []
    pieces: list[Piece] = []
    for change in LCSseq.opcodes(words, others):
        if found := "".join(words[change.src_start : change.src_end]):
            # White space alone is nothing to point at.
            differs = change.tag != "equal" and not found.isspace()
            pieces.append(Piece(found, differs=differs))
    return pieces


def written(said: Said) -> str:
    """Return what somebody said, and called, as one text."""
    calls = [f"{call.name}({call.arguments})" for call in said.calls]
    return "\n".join([said.text, *calls] if said.text else calls)


def said_in(answer: ChatCompletion) -> str:
    """Return what an answer says, and calls, as one text."""
    message = answer.choices[0].message
    calls = [
        f"{call.function.name}({call.function.arguments})" for call in message.tool_calls or []
    ]
    return "\n".join([message.content, *calls] if message.content else calls)
