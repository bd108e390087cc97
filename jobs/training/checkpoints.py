"""The adapters that a run hands over, at the ends of its epochs and where it was best, each with its proof."""

import shutil
from pathlib import Path
from typing import Self

from jobs.training.directories import add_file, sweep_unfinished, write_directory
from jobs.training.proof import Prover
from jobs.training.run import Run
from schemas.proof import PROOF
from schemas.training import TrainingSpec


class Checkpoints:
    """`checkpoints/step-N/`: an adapter, then its proof, each written once and never changed.

    Args:
        directory: Theirs alone.
        base_name: Of the base, as the adapter's config names it.
        prover: Measures each adapter.
    """

    def __init__(self, directory: Path, *, base_name: str, prover: Prover) -> None:
        self._directory = directory
        self._base_name = base_name
        self._prover = prover

    @classmethod
    def of(cls, spec: TrainingSpec, *, after_step: int, prover: Prover) -> Self:
        """Return those in a spec's `work_dir`, for a run that goes on after a step."""
        checkpoints = cls(
            spec.work_dir / "checkpoints",
            base_name=spec.base_name or spec.base_dir.name,
            prover=prover,
        )
        checkpoints._forget_beyond(after_step)
        prover.announce(spec.work_dir)
        return checkpoints

    def directory_of(self, step: int) -> Path:
        """Return where a step's checkpoint is, or would be."""
        return self._directory / f"step-{step}"

    def ensure_adapter(self, run: Run) -> Path:
        """Return the checkpoint of the step that the run is at; write it where it is not there, unproven."""
        target = self.directory_of(run.step)

        def fill(directory: Path) -> None:
            run.model.save_adapter(directory, base_name=self._base_name)
            self._prover.write_rendering(directory)

        if run.group.is_first and not target.is_dir():
            write_directory(target, fill)
        return target

    def ensure(self, run: Run) -> Path:
        """Return the same with its proof, which is taken where it is not there."""
        target = self.ensure_adapter(run)
        if not (target / PROOF).exists():
            if run.group.is_first:
                proof = self._prover.prove(run.model, run.budget)
                add_file(target, PROOF, proof.model_dump_json())
            elif run.group.is_sharded:
                # The first one's passes need our part of the base.
                self._prover.prove(run.model, run.budget)
        return target

    def _forget_beyond(self, step: int) -> None:
        """Delete what is half-written, and what this run has not reached.

        That is another run's, or left by a process that died before its resume point was read.
        """
        sweep_unfinished(self._directory)
        for checkpoint in self._directory.glob("step-*"):
            if int(checkpoint.name.removeprefix("step-")) > step:
                shutil.rmtree(checkpoint)
