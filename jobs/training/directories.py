"""Directories that are there whole, or not at all."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def write_directory(target: Path, fill: Callable[[Path], None]) -> None:
    """Make a directory appear with all its files, after they have reached the disk.

    Args:
        target: Replaced if it is there. Its parent is made if need be.
        fill: Writes flat files into the empty directory that it is given.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}")
    unfinished.mkdir()
    try:
        fill(unfinished)
        for path in unfinished.iterdir():
            _fsync(path)
        _fsync(unfinished)
        if target.exists():
            shutil.rmtree(target)
        unfinished.rename(target)
        _fsync(target.parent)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def add_file(directory: Path, name: str, text: str) -> None:
    """Make one more file appear in a directory of `write_directory`, whole or not at all."""
    # Beside it: who lists the directory sees nothing that is half-written.
    unfinished = directory.with_name(f".{directory.name}.{name}")
    unfinished.write_text(text, encoding="utf-8")
    _fsync(unfinished)
    unfinished.rename(directory / name)
    _fsync(directory)


def sweep_unfinished(parent: Path) -> None:
    """Delete what a killed process left half-written below `parent`."""
    for leftover in parent.glob(".step-*"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
