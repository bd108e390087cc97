"""Bases and training files small enough to train on in a second."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from schemas.training import TrainingSpec

ANSWERS = {"Where is my parcel?": "TRACK", "Cancel it.": "CANCEL", "I want money back.": "REFUND"}


def write_examples(path: Path, n_examples: int) -> Path:
    """Write a chat file whose examples all differ in length or words."""
    asked = list(ANSWERS)
    with path.open("w") as file:
        for number in range(n_examples):
            question = asked[number % len(asked)]
            messages = [
                {"role": "system", "content": "Answer with the code."},
                {"role": "user", "content": " ".join([question] * (1 + number % 4)) + str(number)},
                {"role": "assistant", "content": ANSWERS[question]},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


@pytest.fixture(scope="session")
def nano_dir() -> Path:
    """The tiny base that is part of the project."""
    return NANO_DIRECTORY


@pytest.fixture(scope="session")
def files_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a training and a validation file."""
    directory = tmp_path_factory.mktemp("files")
    write_examples(directory / "train.jsonl", 11)
    write_examples(directory / "valid.jsonl", 5)
    return directory


def short_spec(nano_dir: Path, files_dir: Path, work_dir: Path) -> TrainingSpec:
    """Return the spec of 3 epochs of 3 steps, with a resume point after each."""
    return TrainingSpec(
        base_dir=nano_dir,
        base_name="retune-nano",
        base_digest="d" * 64,
        training_path=files_dir / "train.jsonl",
        validation_path=files_dir / "valid.jsonl",
        work_dir=work_dir,
        n_epochs=3,
        batch_size=4,
        learning_rate=3e-3,
        seed=7,
        context_length=256,
        resume_every_seconds=0.0,
    )


@pytest.fixture
def make_spec(nano_dir: Path, files_dir: Path, tmp_path: Path) -> Callable[..., TrainingSpec]:
    """Make specs of short runs, in work directories of the test's own."""

    def make(work: str = "work", **changes: object) -> TrainingSpec:
        return short_spec(nano_dir, files_dir, tmp_path / work).model_copy(update=changes)

    return make
