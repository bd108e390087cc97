"""Resume points: what a killed run needs to go on as if nothing had happened.

`resume/step-N/` holds `state.safetensors` (adapter and optimizer, float32) and `manifest.json`,
which carries the state's digest and the digest of the run that it belongs to.
"""

import hashlib
import logging
import shutil
import time
from pathlib import Path
from typing import Final, Self

from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from jobs.training.course import Course
from jobs.training.directories import sweep_unfinished, write_directory
from jobs.training.model import WEIGHTS
from jobs.training.run import Run, Taken
from schemas.base import Schema
from schemas.training import TrainingSpec

logger = logging.getLogger(__name__)

_STATE: Final = "state.safetensors"
_MANIFEST: Final = "manifest.json"
_KEPT: Final = 2


class Manifest(Schema):
    """What a resume point says of itself."""

    run_digest: str
    """Of what is trained on what and how (`run_digest`)."""
    state_digest: str
    """SHA-256 of the state file."""
    step: int
    """The last one that is in the state."""
    token_budget: int
    """What memory had taught by then."""
    last: Taken
    course: Course = Course()


class ResumePoints:
    """The resume points of one run, newest first.

    Args:
        directory: Theirs alone.
        digest: Of the run: points of another are not touched by this one's data.
        every_seconds: How much work may be lost.
    """

    def __init__(self, directory: Path, *, digest: str, every_seconds: float) -> None:
        self._directory = directory
        self._digest = digest
        self._every_seconds = every_seconds
        self._saved_at = time.monotonic()

    @classmethod
    def of(cls, spec: TrainingSpec) -> Self:
        """Return those that a spec's `work_dir` holds."""
        return cls(
            spec.work_dir / "resume",
            digest=run_digest(spec),
            every_seconds=spec.resume_every_seconds,
        )

    @property
    def is_due(self) -> bool:
        """Whether the last was saved so long ago that the next should be."""
        return time.monotonic() - self._saved_at >= self._every_seconds

    def save(self, run: Run) -> None:
        """Write one, if this is the process that writes; keep it and the one before it."""
        if not run.group.is_first:
            return
        assert run.last is not None, "there is nothing to save before the first step"
        last = run.last

        def fill(directory: Path) -> None:
            state = {name: tensor.cpu().contiguous() for name, tensor in run.state().items()}
            save_file(state, directory / _STATE)
            manifest = Manifest(
                run_digest=self._digest,
                state_digest=_file_digest(directory / _STATE),
                step=run.step,
                token_budget=run.budget.tokens,
                last=last,
                course=run.course,
            )
            (directory / _MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")

        write_directory(self._directory / f"step-{run.step}", fill)
        for stale in self._newest_first()[_KEPT:]:
            shutil.rmtree(stale)
        self._saved_at = time.monotonic()

    def restore(self, run: Run) -> None:
        """Bring a fresh run to the newest point that is whole and its own; leave it where none is."""
        sweep_unfinished(self._directory)
        for point in self._newest_first():
            manifest = self._whole_manifest(point)
            if manifest is not None:
                run.restore(
                    load_file(point / _STATE),
                    step=manifest.step,
                    last=manifest.last,
                    course=manifest.course,
                )
                # Less, where the kernel has ended a trainer since.
                run.budget.tokens = min(run.budget.tokens, manifest.token_budget)
                return
            logger.warning("resume point is broken or another run's: point=%s", point.name)
            # It would count as the newest of the two that are kept.
            shutil.rmtree(point)

    def _whole_manifest(self, point: Path) -> Manifest | None:
        try:
            manifest = Manifest.model_validate_json((point / _MANIFEST).read_bytes())
            is_whole = _file_digest(point / _STATE) == manifest.state_digest
        except (OSError, ValidationError):
            return None
        return manifest if is_whole and manifest.run_digest == self._digest else None

    def _newest_first(self) -> list[Path]:
        points = [path for path in self._directory.glob("step-*") if path.is_dir()]
        return sorted(points, key=lambda path: int(path.name.removeprefix("step-")), reverse=True)


def run_digest(spec: TrainingSpec) -> str:
    """Return the SHA-256 of all that decides what is learned: not of where things lie.

    A run may go on in another directory, on another machine, with other threads.
    """
    numbers = spec.model_dump_json(
        exclude={
            "base_dir",
            "base_name",
            "training_path",
            "validation_path",
            "init_adapter_dir",
            "work_dir",
            "n_threads",
            "n_processes",
            "is_sharded",
            "reported_step",
            "resume_every_seconds",
        }
    )
    files = [spec.training_path]
    if spec.validation_path is not None:
        files.append(spec.validation_path)
    if spec.init_adapter_dir is not None:
        files.append(spec.init_adapter_dir / WEIGHTS)
    base = spec.base_digest or str(spec.base_dir)
    parts = [numbers, base, *(_file_digest(path) for path in files)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
