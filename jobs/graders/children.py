"""Child processes that compute for graders: how many at a time, for how long, and how much they may say."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from serving.child import die_with_us

AT_A_TIME: Final = 2
"""In each API process. Others wait for their turn."""
MAX_ANSWER_BYTES: Final = 64 * 1024


class ChildFailed(Exception):
    """The child ended without an answer."""


class ChildTooSlow(ChildFailed):
    """The child was still at it when its time was over."""


class Children:
    """The children of one process.

    Args:
        max_answer_bytes: More than that is no answer.
    """

    def __init__(self, *, max_answer_bytes: int = MAX_ANSWER_BYTES) -> None:
        self._max_answer_bytes = max_answer_bytes
        self._turns = asyncio.Semaphore(AT_A_TIME)

    async def ask(
        self,
        module: str,
        question: bytes,
        *,
        seconds: float,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run a module of ours as a process and return what it answers; then it is gone, whatever happened.

        Args:
            module: Reads its question from standard input to its end, and answers on standard output.
            question: For the child.
            seconds: How long it may take, once it has its turn.
            cwd: Where it runs.
            environment: All of it: nothing of ours is handed on.

        Raises:
            ChildTooSlow: It took longer.
            ChildFailed: It died, or said nothing, or more than it may.
        """
        async with self._turns:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-Ps",
                "-m",
                module,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                cwd=cwd,
                env=dict(environment or {}),
                start_new_session=True,
                preexec_fn=die_with_us(),
            )
            try:
                async with asyncio.timeout(seconds):
                    return await _converse(process, question, most=self._max_answer_bytes)
            except TimeoutError as exc:
                raise ChildTooSlow(f"It took longer than {seconds:g} seconds.") from exc
            finally:
                await _end(process)


async def _converse(process: Process, question: bytes, *, most: int) -> bytes:
    assert process.stdin is not None
    assert process.stdout is not None
    # It may end before it has heard all; what it said, or did not, tells more.
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(question)
        await process.stdin.drain()
        process.stdin.close()
    answer = bytearray()
    while chunk := await process.stdout.read(MAX_ANSWER_BYTES):
        answer += chunk
        if len(answer) > most:
            raise ChildFailed("It said more than it may.")
    if not answer:
        status = await process.wait()
        raise ChildFailed(
            f"It was ended by signal {-status}." if status < 0 else "It ended without a result."
        )
    return bytes(answer)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):  # gone by itself, and not yet known to be
            os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
