"""What a batch's requests were answered, kept as it comes: the worker may be killed at any moment.

Each claim appends to a file of its own, so that a worker which was thought dead spoils nothing of its successor's:

    <work dir>/input.jsonl             the input file's bytes, even where the file is deleted meanwhile
    <work dir>/results-<attempt>.jsonl  one Entry a line, in the order in which answers came

An entry counts once its line is whole. Where two claims answered the same request, the older claim's counts.
"""

import os
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from errno import EDQUOT, ENOSPC
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Final, Self

from pydantic import ValidationError

from schemas.base import Schema
from schemas.batches import Batch, BatchUsage, RequestCounts
from schemas.errors import StorageFull

_NAME: Final = re.compile(r"results-(\d+)\.jsonl")


class Entry(Schema):
    """The outcome of one request."""

    number: int
    """Its line in the input file."""
    is_completed: bool
    """Whether it goes to the output file, else to the error file."""
    usage: BatchUsage = BatchUsage()
    result: str
    """The line for that file, without a newline."""


class Tally:
    """Outcomes, counted.

    Args:
        total: Requests of the batch.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._completed = 0
        self._failed = 0
        self.usage = BatchUsage()

    def add(self, entry: Entry) -> None:
        """Count one."""
        self._completed += entry.is_completed
        self._failed += not entry.is_completed
        self.usage += entry.usage

    @property
    def counts(self) -> RequestCounts:
        """As the batch shows them."""
        return RequestCounts(total=self._total, completed=self._completed, failed=self._failed)

    def shown_by(self, batch: Batch) -> Batch:
        """Return `batch` with what was counted."""
        return batch.model_copy(update={"request_counts": self.counts, "usage": self.usage})


class Journal(AbstractContextManager["Journal"]):
    """Where one claim of a batch writes; open for as long as the `with` lasts."""

    def __init__(self, work_dir: Path, *, attempt: int) -> None:
        self._path = work_dir / f"results-{attempt}.jsonl"
        self._file = -1
        # A thread whose task was cancelled still writes; never to a file that is closed, whose number is another's.
        self._turn = Lock()

    def __enter__(self) -> Self:
        self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        with self._turn:
            os.close(self._file)
            self._file = -1

    def append(self, entry: Entry) -> None:
        """Write an entry. Blocking, from any thread.

        Raises:
            OSError: The journal is closed, or the disk fails.
            StorageFull: There is no room; what was written of it does not count.
        """
        content = entry.model_dump_json().encode() + b"\n"
        try:
            with self._turn:
                written = os.write(self._file, content)
        except OSError as exc:
            if exc.errno not in {ENOSPC, EDQUOT}:
                raise
            written = 0
        if written < len(content):
            raise StorageFull("There is no space left for a batch's results.")


def read_entries(work_dir: Path) -> Iterator[Entry]:
    """Yield the outcome of each request that has one, once. Blocking, in flat memory."""
    seen: set[int] = set()
    for path in _journals(work_dir):
        with path.open("rb") as file:
            for line in file:
                try:
                    entry = Entry.model_validate_json(line)
                except ValidationError:
                    continue  # torn by a kill or a full disk: the request is asked again
                if line.endswith(b"\n") and entry.number not in seen:
                    seen.add(entry.number)
                    yield entry


def _journals(work_dir: Path) -> list[Path]:
    """Return the files of all claims, the oldest first."""
    found = [(match, path) for path in work_dir.iterdir() if (match := _NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, key=lambda pair: int(pair[0][1]))]
