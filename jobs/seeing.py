"""`python -m jobs.seeing`: shows examples as the model sees them, in a process of its own.

One `SeenQuestion` on standard input, one `SeenAnswer` on standard output; why in a process: see `jobs.examination`.
"""

import sys
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Final

from jobs.dataset import read_examples
from jobs.rendering import Renderer, Row
from jobs.terminal_text import without_middle
from schemas.seen_examples import SeenAnswer, SeenExample, SeenQuestion, Stretch

_SEARCHED: Final = 100
"""Examples among which some that train are looked for."""
_SHOWN: Final = 3
_CHARACTERS: Final = 2400
"""Of an example that are shown: three fit into an answer even where each takes four bytes."""
_STRETCHES: Final = 24


def seen(path: Path, renderer: Renderer, context_length: int) -> Iterator[SeenExample]:
    """Yield the first examples of a good file that train, whole."""
    examples = enumerate(islice(read_examples(path), _SEARCHED), start=1)
    for number, example in examples:
        for row in renderer.rows(example, context_length):
            yield SeenExample(
                example=number,
                n_tokens=len(row.token_ids),
                n_trained=sum(row.trained),
                stretches=list(_stretches(row, renderer)),
            )


def answer(question: SeenQuestion) -> SeenAnswer:
    """Render with the tokenizer and template that train.

    Raises:
        JobFailure: The base cannot chat.
        ValueError: A line is no example.
    """
    renderer = Renderer.load(question.base_dir)
    found = islice(seen(question.path, renderer, question.context_length), _SHOWN)
    return SeenAnswer(
        data=[
            example.model_copy(update={"stretches": shortened(example.stretches)})
            for example in found
        ]
    )


def shortened(stretches: Sequence[Stretch]) -> list[Stretch]:
    """Return the first stretches, each without its middle where it is long."""
    kept = stretches[:_STRETCHES]
    longest = _CHARACTERS // max(len(kept), 1)
    return [
        stretch.model_copy(update={"text": without_middle(stretch.text, longest=longest)})
        for stretch in kept
    ]


def _stretches(row: Row, renderer: Renderer) -> Iterator[Stretch]:
    places = groupby(zip(row.trained, row.token_ids, strict=True), key=lambda place: place[0])
    for is_trained, stretch in places:
        yield Stretch(text=renderer.decode([id for _, id in stretch]), is_trained=is_trained)


def main() -> None:
    """Answer the question on standard input."""
    question = SeenQuestion.model_validate_json(sys.stdin.read())
    sys.stdout.write(answer(question).model_dump_json())


if __name__ == "__main__":
    main()
