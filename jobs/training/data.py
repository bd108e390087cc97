"""What a run learns from and is measured on, read and rendered."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from jobs.dataset import read_examples
from jobs.rendering import Rendered, Renderer
from jobs.rendering_samples import SampleChooser
from jobs.training.corpus import Corpus
from schemas.errors import JobFailure
from schemas.rendering import RenderingSamples
from schemas.training import TrainingSpec

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Data:
    """The files of a run as tokens."""

    training: Corpus
    validation: Corpus | None
    """None without a validation file, or where nothing of it trains."""
    rendering: RenderingSamples
    """How a few examples of the training file were rendered."""

    @classmethod
    def load(cls, spec: TrainingSpec, renderer: Renderer) -> Self:
        """Read and render the spec's files.

        Args:
            spec: Names them.
            renderer: The base's.

        Raises:
            JobFailure: No example has a trained token.
        """
        chooser = SampleChooser(renderer)

        def corpus(path: Path, chooser: SampleChooser | None = None) -> Corpus:
            return Corpus.of(_rendered(path, renderer, spec.context_length, chooser))

        training = corpus(spec.training_path, chooser)
        if not len(training):
            raise JobFailure(
                "No example of the training file has a token to learn from: each answer has "
                "weight 0, or lies beyond the context length.",
                code="invalid_training_file",
                param="training_file",
            )
        validation = corpus(spec.validation_path) if spec.validation_path else None
        logger.info("rendered: examples=%d left_out=%d", len(training), training.n_left_out)
        return cls(
            training=training,
            validation=validation or None,
            rendering=chooser.chosen(),
        )

    @property
    def largest_token_id(self) -> int:
        """To be held against the model's vocabulary."""
        return max(c.largest_token_id for c in (self.training, self.validation) if c)


def _rendered(
    path: Path, renderer: Renderer, context_length: int, chooser: SampleChooser | None
) -> Iterator[Rendered]:
    for example in read_examples(path):
        rendered = renderer.render(example, context_length)
        if chooser:
            chooser.look_at(example, rendered)
        yield rendered
