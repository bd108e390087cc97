"""Running a grader's program: in a confined process, a directory that is then deleted, and limits."""

import asyncio
import json
import logging
import math
import os
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, JsonValue, ValidationError

from jobs.graders.children import ChildFailed, Children
from jobs.graders.outcome import Outcome
from jobs.graders.templates import Scope
from schemas.base import Schema
from schemas.graders import GraderErrors

logger = logging.getLogger(__name__)

MEMORY_BYTES: Final = 2 * 2**30
"""As at OpenAI."""
FILE_BYTES: Final = 64 * 2**20
DIRECTORY_BYTES: Final = 256 * 2**20
DIRECTORY_FILES: Final = 1000
_LOOK_EVERY: Final = 0.1
"""Seconds: what a program can write in that time, it can write over its limit."""
_MAX_DETAILS: Final = 4000


class DirectoryFull(Exception):
    """The program wrote more than it may."""


class _Answer(Schema):
    """What `jobs.graders.python_child` says, or the program in its name."""

    reward: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    error: str | None = None
    unconfined: str | None = None


async def grade(
    children: Children, source: str, scope: Scope, *, private: Path, seconds: float
) -> Outcome:
    """Return what the program's `grade(sample, item)` returns.

    What the program does wrong is a runtime error; where the machine cannot confine it, nothing is run, and it
    is a server error of type `sandbox_unavailable`.

    Args:
        children: To run it.
        source: Of the program.
        scope: Its arguments.
        private: A directory that the program must not reach, wherever it lies.
        seconds: How long it may take, and how much processor time.
    """
    question: dict[str, JsonValue] = {
        "source": source,
        "sample": {"output_json": None, **scope["sample"]},
        "item": scope["item"],
        "private": str(private),
        "limits": {
            "seconds": math.ceil(seconds),
            "memory_bytes": MEMORY_BYTES,
            "file_bytes": FILE_BYTES,
        },
    }
    try:
        said = await _run(children, json.dumps(question).encode(), seconds=seconds)
        answer = _Answer.model_validate_json(said)
    except (ChildFailed, DirectoryFull) as exc:
        return _failed(str(exc))
    except ValidationError:
        return _failed("It ended without a result.")
    if answer.unconfined is not None:
        logger.warning("python graders cannot run on this machine: %s", answer.unconfined)
        return Outcome(
            errors=GraderErrors(
                python_grader_server_error=True,
                python_grader_server_error_type="sandbox_unavailable",
            )
        )
    return _failed(answer.error) if answer.error is not None else Outcome(reward=answer.reward)


def _failed(details: str) -> Outcome:
    return Outcome(
        errors=GraderErrors(
            python_grader_runtime_error=True,
            python_grader_runtime_error_details=details[:_MAX_DETAILS],
        )
    )


async def _run(children: Children, question: bytes, *, seconds: float) -> bytes:
    async with _own_directory() as directory:
        environment = {
            "HOME": str(directory),
            "TMPDIR": str(directory),
            # Else a linear-algebra library sets memory aside for every core of the machine.
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
        }
        asking = asyncio.create_task(
            children.ask(
                "jobs.graders.python_child",
                question,
                seconds=seconds,
                cwd=directory,
                environment=environment,
            )
        )
        try:
            while not asking.done():
                await asyncio.wait({asking}, timeout=_LOOK_EVERY)
                await asyncio.to_thread(_check_room, directory)
            return asking.result()
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)


@asynccontextmanager
async def _own_directory() -> AsyncGenerator[Path]:
    directory = tempfile.TemporaryDirectory(prefix="retune-grader-")
    try:
        yield Path(directory.name)
    finally:
        await asyncio.to_thread(directory.cleanup)


def _check_room(directory: Path) -> None:
    """See how much lies there. Flat: the program can make no directories."""
    n_files = n_bytes = 0
    with os.scandir(directory) as entries:
        for entry in entries:
            n_files += 1
            try:
                n_bytes += entry.stat(follow_symlinks=False).st_size
            except FileNotFoundError:
                continue  # deleted since
    if n_files > DIRECTORY_FILES or n_bytes > DIRECTORY_BYTES:
        raise DirectoryFull(
            f"It wrote more than {DIRECTORY_BYTES // 2**20} MB or {DIRECTORY_FILES} files."
        )
