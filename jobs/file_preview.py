"""The beginning of a file as people read it: conversations where it has some, else lines.

Only looks: whether a job can train on a file is the data check's to say.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from schemas.base import Schema

N_LINES: Final = 20
_READ_BYTES: Final = 2**20
"""A line that goes on behind them is shown as far as it was read."""
_TEXT_CHARACTERS: Final = 2000
"""Of a message that are shown."""
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Half a character: JSON may hold one by itself, no page can."""


class PreviewMessage(Schema):
    """One message of a conversation."""

    role: str
    text: str
    is_cut: bool
    is_learned: bool
    """Whether a job learns to write it."""


class PreviewLine(Schema):
    """A line: a conversation, or the text that it is."""

    number: int
    """From 1."""
    messages: list[PreviewMessage]
    """Empty where it is none."""
    text: str
    is_cut: bool


def preview(path: Path) -> list[PreviewLine]:
    """Return those of a file's first lines that are not empty. Reads `_READ_BYTES` at most."""
    with path.open("rb") as file:
        lines = file.read(_READ_BYTES).split(b"\n")
    return [
        _line(number, line) for number, line in enumerate(lines[:N_LINES], start=1) if line.strip()
    ]


def _line(number: int, line: bytes) -> PreviewLine:
    text = line.decode("utf-8", "replace").strip()
    shown, is_cut = _cut(text)
    return PreviewLine(number=number, messages=_messages(text), text=shown, is_cut=is_cut)


def _messages(text: str) -> list[PreviewMessage]:
    """Return the messages of an example, or none where the line is no conversation."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    messages = value.get("messages") if isinstance(value, dict) else None
    if not isinstance(messages, list) or not all(isinstance(each, dict) for each in messages):
        return []
    return [_message(each) for each in messages]


def _message(message: Mapping[str, JsonValue]) -> PreviewMessage:
    role, _ = _cut(str(message.get("role", "?")))
    others = [
        json.dumps(message[name], ensure_ascii=False, indent=2)
        for name in ("refusal", "tool_calls", "function_call")
        if message.get(name)
    ]
    content = _content(message.get("content"))
    text, is_cut = _cut("\n".join(part for part in (content, *others) if part))
    is_learned = role == "assistant" and message.get("weight") != 0
    return PreviewMessage(role=role, text=text, is_cut=is_cut, is_learned=is_learned)


def _content(content: JsonValue) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        if all(isinstance(text, str) for text in texts) and len(texts) == len(content):
            return "\n".join(map(str, texts))
    return json.dumps(content, ensure_ascii=False)


def _cut(text: str) -> tuple[str, bool]:
    return _SURROGATE.sub("\ufffd", text[:_TEXT_CHARACTERS]), len(text) > _TEXT_CHARACTERS
