"""Examples of a training file that are held out to validate with: which ones, and as files of their own."""

import random
from pathlib import Path
from typing import Final

_TRAINING: Final = "training.jsonl"
_VALIDATION: Final = "validation.jsonl"


def count_held_out(n_examples: int, share: float | None) -> int:
    """Return how many of a file's examples are held out: at least one, and one is left to train on.

    Args:
        n_examples: Of the file; at least 2.
        share: That was asked for; None: nothing is held out.
    """
    if share is None:
        return 0
    return max(1, min(n_examples - 1, round(n_examples * share)))


def places_held_out(n_examples: int, *, share: float, seed: int) -> frozenset[int]:
    """Return the places of the examples that are held out, from 0; the same for the same seed."""
    chosen = random.Random(f"{seed} held out")  # noqa: S311 - no secret
    return frozenset(chosen.sample(range(n_examples), count_held_out(n_examples, share)))


def hold_out(
    source: Path, directory: Path, *, n_examples: int, share: float, seed: int
) -> tuple[Path, Path]:
    """Cut a training file in two. Safe to repeat: what is there is there whole.

    Args:
        source: JSON Lines that `jobs.dataset` has passed.
        directory: Made for the two files.
        n_examples: Of the source.
        share: That is held out.
        seed: The job's.

    Returns:
        What is trained on, and what is held out; each in the order of the source.
    """
    if not directory.is_dir():
        held_out = places_held_out(n_examples, share=share, seed=seed)
        unfinished = directory.with_name(f"{directory.name}.part")
        unfinished.mkdir(exist_ok=True)
        with (
            source.open("rb") as lines,
            (unfinished / _TRAINING).open("wb") as training,
            (unfinished / _VALIDATION).open("wb") as validation,
        ):
            for place, line in enumerate(line for line in lines if line.strip()):
                (validation if place in held_out else training).write(line.rstrip(b"\r\n") + b"\n")
        unfinished.rename(directory)
    return directory / _TRAINING, directory / _VALIDATION
