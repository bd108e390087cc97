"""What was reported, on disk too: a worker that is killed takes what it had read with it.

`journal.jsonl` holds a line a step, adapter or note, as it was told. A successor tells again what its
worker does not know; telling twice is harmless, for the worker keeps each once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Self, TypeAlias

from pydantic import ValidationError

from schemas.training import (
    BestSaved,
    CheckpointSaved,
    Noted,
    StepDone,
    TrainingEvent,
    TrainingSpec,
    training_event,
)

_NAME: Final = "journal.jsonl"
_Kept: TypeAlias = StepDone | CheckpointSaved | BestSaved | Noted


class Journal:
    """The steps, adapters and notes that one run has told of, in order.

    Args:
        path: Of its file.
        reported_step: The last step that the worker has recorded.
        is_writer: Whether `add` writes more than notes: one of several processes does.
    """

    def __init__(self, path: Path, *, reported_step: int, is_writer: bool = True) -> None:
        self._path = path
        self._reported_step = reported_step
        self._is_writer = is_writer

    @classmethod
    def of(cls, spec: TrainingSpec, *, is_writer: bool = True) -> Self:
        """Return the one that a spec's `work_dir` holds."""
        return cls(spec.work_dir / _NAME, reported_step=spec.reported_step, is_writer=is_writer)

    def tell(self, emit: Callable[[TrainingEvent], None], event: TrainingEvent) -> None:
        """Write an event down before it is told."""
        self.add(event)
        emit(event)

    def add(self, event: TrainingEvent) -> None:
        """Write an event down, if it is one that must not be lost."""
        # Any process may note that its memory ran out; a line is one write.
        if isinstance(event, Noted) or (self._is_writer and isinstance(event, _Kept)):
            with self._path.open("a", encoding="utf-8") as file:
                file.write(event.model_dump_json() + "\n")

    def rewind(self, *, to_step: int, is_open: bool = False) -> list[_Kept]:
        """Forget what lies after a resume point, and return what must be told again, oldest first.

        Notes stay: what memory taught holds on (`jobs.tokens_at_once`), and is not noted again.

        Args:
            to_step: Of the resume point; 0: forget every step.
            is_open: Whether that step's own numbers are to be told anew.
        """
        last = to_step - is_open
        known = [event for event in self._read() if isinstance(event, Noted) or event.step <= last]
        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_suffix(".part")
        unfinished.write_text(
            "".join(event.model_dump_json() + "\n" for event in known), encoding="utf-8"
        )
        unfinished.replace(self._path)
        return [
            event
            for event in known
            if not isinstance(event, StepDone) or event.step > self._reported_step
        ]

    def _read(self) -> Iterator[_Kept]:
        if not self._path.exists():
            return
        for line in self._path.read_bytes().splitlines():
            try:
                event = training_event.validate_json(line)
            except ValidationError:
                return  # the process was killed while it wrote this line
            if isinstance(event, _Kept):
                yield event
