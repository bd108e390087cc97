"""What a report's questions were answered, kept as it comes: whoever goes on after a failure asks only the rest.

Each claim appends to a file of its own, so that a worker which was thought dead spoils nothing of its successor's:
`work/report-<job>/answers-<attempt>.jsonl`, a line for each question, which counts once it is whole.
"""

import logging
import os
import re
from asyncio import to_thread
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from jobs.blobs import Blobs
from jobs.reports.asking import Answers
from jobs.reports.sample import NotAskable
from schemas.base import Schema
from schemas.report import Said

logger = logging.getLogger(__name__)

PREFIX: Final = "report-"
"""Of the names of the directories; the rest is the job's id."""
_NAME: Final = re.compile(r"answers-(\d+)\.jsonl")


class _Line(Schema):
    """What became of one question: both answers, or why there are none."""

    number: int
    of: str
    """The models' weights, as `KeptAnswers` was told."""
    base: Said | None = None
    tuned: Said | None = None
    refused: str | None = None

    @property
    def found(self) -> Answers | NotAskable | None:
        if self.base is not None and self.tuned is not None:
            return Answers(self.base, self.tuned)
        return None if self.refused is None else NotAskable("refused", self.refused)


class KeptAnswers:
    """Answers of one report, over all of its claims.

    Args:
        blobs: Where they are kept.
        job_id: Whose report it is.
        of: Stands for the weights of both models; answers of others are not taken up.
    """

    def __init__(self, blobs: Blobs, job_id: str, *, of: str) -> None:
        self._directory = blobs.work_dir(PREFIX + job_id)
        self._of = of

    async def read(self) -> dict[int, Answers | NotAskable]:
        """Return what earlier claims have kept, by the number of the question."""
        return await to_thread(self._read)

    @contextmanager
    def journal(self, attempt: int) -> Generator["Journal"]:
        """Open what the claim `attempt` writes."""
        path = self._directory / f"answers-{attempt}.jsonl"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            yield Journal(descriptor, of=self._of)
        finally:
            os.close(descriptor)

    def _read(self) -> dict[int, Answers | NotAskable]:
        found: dict[int, Answers | NotAskable] = {}
        for path in _journals(self._directory):
            for content in path.read_bytes().splitlines():
                try:
                    line = _Line.model_validate_json(content)
                except ValidationError:
                    continue  # torn by a kill or a full disk: the question is asked again
                if line.of == self._of and line.found is not None:
                    found.setdefault(line.number, line.found)
        return found


class Journal:
    """Where one claim keeps its answers."""

    def __init__(self, descriptor: int, *, of: str) -> None:
        self._descriptor = descriptor
        self._of = of

    def keep(self, number: int, found: Answers | NotAskable) -> None:
        """Write down what became of a question, if it would be the same again: a failing engine may recover.

        A disk that takes no more costs the answer in the next try, not in this one.
        """
        match found:
            case Answers(base, tuned):
                line = _Line(number=number, of=self._of, base=base, tuned=tuned)
            case NotAskable("refused", detail):
                line = _Line(number=number, of=self._of, refused=detail)
            case _:
                return
        try:
            # Begun on a line of its own: what a full disk left of the one before spoils only itself.
            os.write(self._descriptor, b"\n" + line.model_dump_json().encode() + b"\n")
        except OSError as exc:
            logger.warning("an answer is not kept: %r", exc)


async def forget_answers(blobs: Blobs, job_id: str) -> None:
    """Delete what was kept for a report; nothing is fine."""
    await blobs.delete_work_dir(PREFIX + job_id)


def _journals(directory: Path) -> list[Path]:
    """Return the files of all claims, the oldest first."""
    found = [(match, path) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]
