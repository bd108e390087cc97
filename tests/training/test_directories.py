"""Directories that appear whole."""

from pathlib import Path

import pytest

from jobs.training.directories import add_file, sweep_unfinished, write_directory


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """Where filling fails, what was there before is still there, and nothing else."""
    write_directory(tmp_path / "step-1", lambda directory: _write(directory, "old"))

    def fail(directory: Path) -> None:
        _write(directory, "new")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_directory(tmp_path / "step-1", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert (tmp_path / "step-1" / "file").read_text() == "old"


def test_a_write_replaces(tmp_path: Path) -> None:
    """Writing again replaces the whole directory."""
    for text in ("old", "new"):
        write_directory(tmp_path / "step-1", lambda directory, text=text: _write(directory, text))

    assert (tmp_path / "step-1" / "file").read_text() == "new"


def test_a_file_is_added(tmp_path: Path) -> None:
    """What is added lies beside the rest, whole, and nothing else does."""
    write_directory(tmp_path / "step-1", lambda directory: _write(directory, "old"))

    add_file(tmp_path / "step-1", "more", "new")

    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]
    assert sorted(path.name for path in (tmp_path / "step-1").iterdir()) == ["file", "more"]
    assert (tmp_path / "step-1" / "more").read_text() == "new"


def test_leftovers_of_a_killed_process_are_swept(tmp_path: Path) -> None:
    """What a killed process left half-written goes; what is whole stays."""
    (tmp_path / ".step-2").mkdir()
    (tmp_path / ".step-2" / "file").write_text("half")
    (tmp_path / ".step-1.more").write_text("half")
    write_directory(tmp_path / "step-1", lambda directory: _write(directory, "whole"))

    sweep_unfinished(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["step-1"]


def _write(directory: Path, text: str) -> None:
    (directory / "file").write_text(text)
