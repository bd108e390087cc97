"""Measuring how alike two texts are, in a process that has the libraries for it."""

import json
from typing import Final

from jobs.graders.children import ChildFailed, Children
from jobs.graders.outcome import Outcome
from jobs.graders.templates import RenderedTooLong
from schemas.graders import GraderErrors, SimilarityMetric

MAX_CHARACTERS: Final = 100_000
"""Of each text. The slowest metric but ROUGE-L takes 0.2 seconds for these."""
_SECONDS: Final = 30.0


async def grade(
    children: Children, *, metric: SimilarityMetric, input: str, reference: str
) -> Outcome:
    """Return the similarity; where it could not be computed in 30 seconds and 2 GB, `other_error`.

    Raises:
        RenderedTooLong: A text has more than `MAX_CHARACTERS`.
    """
    if max(len(input), len(reference)) > MAX_CHARACTERS:
        raise RenderedTooLong(
            f"texts to compare may have at most {MAX_CHARACTERS} characters once variables are filled in"
        )
    question = json.dumps({"metric": metric, "input": input, "reference": reference})
    try:
        answer = await children.ask(
            "jobs.graders.similarity_metrics", question.encode(), seconds=_SECONDS
        )
    except ChildFailed:
        return Outcome(errors=GraderErrors(other_error=True))
    return Outcome(reward=float(answer))
