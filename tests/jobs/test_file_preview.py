"""What is shown of a file before anybody trains on it."""

import json
from pathlib import Path

import pytest

from jobs.file_preview import N_LINES, PreviewLine, preview


def lines_of(directory: Path, content: bytes) -> list[PreviewLine]:
    path = directory / "file"
    path.write_bytes(content)
    return preview(path)


def test_conversations_are_read(tmp_path: Path):
    """Each message has its role, its text and calls, and whether it is learned."""
    example = {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [{"id": "call-1"}], "weight": 0},
            {"role": "assistant", "content": "好"},
        ]
    }
    [line] = lines_of(tmp_path, json.dumps(example).encode())
    asked, called, answered = line.messages
    assert (asked.role, asked.text, asked.is_learned) == ("user", "a\nb", False)
    assert "call-1" in called.text
    assert not called.is_learned
    assert (answered.text, answered.is_learned) == ("好", True)


@pytest.mark.parametrize(
    "line",
    [b"[" * 100_000, b"\xff\xfe", b"null", b'{"messages": ["a"]}', b"step,loss", b"1" * 5000],
)
def test_whatever_is_no_conversation_is_text(tmp_path: Path, line):
    """Nothing in a file keeps its beginning from being shown."""
    [shown] = lines_of(tmp_path, line)
    assert shown.messages == []
    assert shown.text
    assert len(shown.text) <= 2000


def test_only_the_beginning_is_read(tmp_path: Path):
    """After a number of lines, or a megabyte, a file is not read on; empty lines keep their numbers."""
    content = b"\n" + b"a\n" * 30
    assert [line.number for line in lines_of(tmp_path, content)] == list(range(2, N_LINES + 1))
    long, short = lines_of(tmp_path, b"a" * 900_000 + b"\n" + b"b" * 900_000 + b"\nc\n")
    assert long.is_cut
    assert short.is_cut
    assert lines_of(tmp_path, b"") == []
