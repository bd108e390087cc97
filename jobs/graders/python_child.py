"""The process in which a grader's program runs: reads a job, confines itself, grades, says one word.

Started by `jobs.graders.python_grader` as `python -I -m jobs.graders.python_child` in the directory that it may
write to. What it says is to be trusted no more than the program that it ran.
"""

import json
import math
import numbers
import os
import sys
import traceback
from pathlib import Path
from types import CodeType
from typing import Any, Final

from jobs.graders.confinement import CannotConfine, Limits, confine

_FILE_NAME: Final = "<grader>"
_SHOWN_CHARACTERS: Final = 2000


def main() -> None:
    """Grade what standard input describes, and answer on standard output.

    In: `{source, sample, item, private, limits: {seconds, memory_bytes, file_bytes}}`. Out: `{"reward": number}`,
    `{"error": what the program did wrong}` or `{"unconfined": why nothing was run}`.
    """
    asked = json.load(sys.stdin.buffer)
    answer = _take_standard_streams()
    try:
        confine(
            writable=Path.cwd(),
            private=Path(asked["private"]),
            limits=Limits(**asked["limits"]),
        )
        said = _grade(asked["source"], asked["sample"], asked["item"])
    except CannotConfine as exc:
        said = {"unconfined": str(exc)}
    os.write(answer, json.dumps(said).encode())
    # Not by returning: what the program left to run at the end would run.
    os._exit(0)


def _take_standard_streams() -> int:
    """Leave the program streams that lead nowhere; return where the answer goes."""
    answer = os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.close(nowhere)
    return answer


def _grade(source: str, sample: object, item: object) -> dict[str, object]:
    names: dict[str, Any] = {"__name__": "grader"}
    try:
        code: CodeType = compile(source, _FILE_NAME, "exec")
        exec(code, names)  # noqa: S102 - what this process is for
        if not callable(names.get("grade")):
            return {"error": "The program defines no function 'grade(sample, item)'."}
        reward = names["grade"](sample, item)
        if not isinstance(reward, numbers.Real):
            return {"error": f"'grade' must return a float, but returned {type(reward).__name__}."}
        if not math.isfinite(reward):
            return {"error": f"'grade' must return a finite number, but returned {float(reward)}."}
        return {"reward": float(reward)}
    except BaseException as exc:  # noqa: BLE001 - whatever a program raises, SystemExit too, is its result
        return {"error": _described(exc)}


def _described(exc: BaseException) -> str:
    """Name the error and the line of the program; paths of this machine are not the caller's business."""
    lines = [
        line
        for frame, line in traceback.walk_tb(exc.__traceback__)
        if frame.f_code.co_filename == _FILE_NAME
    ]
    line = lines[-1] if lines else exc.lineno if isinstance(exc, SyntaxError) else None
    where = f" (line {line})" if line else ""
    text = exc.msg if isinstance(exc, SyntaxError) else str(exc)
    return f"{type(exc).__name__}: {text[:_SHOWN_CHARACTERS]}{where}"


if __name__ == "__main__":
    main()
