"""What a model sees of a training file: our extension `/v1/fine_tuning/jobs/{job_id}/examples`."""

from pathlib import Path
from typing import Literal

from schemas.base import Schema


class Stretch(Schema):
    """Consecutive tokens of an example, as text."""

    text: str
    """Special tokens included; what is long loses its middle."""
    is_trained: bool
    """Whether the model learns to write it."""


class SeenExample(Schema):
    """An example as the model sees it: in the words of the base's chat template."""

    example: int
    """From 1. A conversation that trains in several pieces is there once for each."""
    n_tokens: int
    n_trained: int
    """Tokens that are learned from."""
    stretches: list[Stretch]


class SeenQuestion(Schema):
    """What the process that renders is asked."""

    base_dir: Path
    context_length: int
    path: Path


class SeenExamples(Schema):
    """The first examples of a job's training file that train."""

    object: Literal["fine_tuning.job.examples"] = "fine_tuning.job.examples"
    training_file: str
    model: str
    """The base whose template and tokenizer these are."""
    data: list[SeenExample]


class SeenAnswer(Schema):
    """What the process answers."""

    data: list[SeenExample]
