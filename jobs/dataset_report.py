"""What a training file holds, added up example by example: tokens, lengths, and what to warn of."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from jobs.rendering import FindingKind, Renderer
from jobs.shape_errors import Complaint
from schemas.training_file import ChatExample

NAMED: Final = 10
"""Lines and examples that a message names before it only counts."""


@dataclass(frozen=True, slots=True)
class DatasetReport:
    """What a file that can be trained on holds. Without a renderer, only `n_examples` is known."""

    n_examples: int
    n_rows: int = 0
    """Sequences to train on: one an example where the template keeps what it once rendered."""
    tokens: int = 0
    """Of all examples, each cut at the context length: what OpenAI counts, per epoch."""
    loss_tokens: int = 0
    """Those that are learned from, per epoch."""
    longest: int = 0
    """Tokens of the longest example, cut at the context length."""
    histogram: Mapping[int, int] = field(default_factory=dict)
    """Upper bound in tokens, a power of two → examples up to it and over the bound before."""
    n_truncated: int = 0
    n_untrained: int = 0
    """Examples without a trained token."""
    warnings: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    """The examples with one kind of finding."""

    detail: str
    """What the first of them had to say."""
    n_examples: int = 0
    first: list[int] = field(default_factory=list)

    def count(self, example: int) -> None:
        self.n_examples += 1
        if len(self.first) < NAMED:
            self.first.append(example)

    def __str__(self) -> str:
        more = ", …" if self.n_examples > len(self.first) else ""
        return f"{counted(self.n_examples, 'example')} ({listed(self.first)}{more})"


class Totals:
    """Adds up examples as they are read."""

    def __init__(self, context_length: int) -> None:
        self._context_length = context_length
        self._n_examples = 0
        self._n_rows = 0
        self._tokens = 0
        self._loss_tokens = 0
        self._longest = 0
        self._histogram: Counter[int] = Counter()
        self._findings: dict[FindingKind, _Tally] = {}

    def add(
        self, example: ChatExample, renderer: Renderer | None, *, number: int
    ) -> Complaint | None:
        """Count an example, and return why the base's template does not take it, if so."""
        self._n_examples += 1
        if renderer is None:
            return None
        rendered = renderer.render(example, self._context_length)
        self._n_rows += len(rendered.rows)
        self._tokens += rendered.n_tokens
        self._loss_tokens += sum(sum(row.trained) for row in rendered.rows)
        self._longest = max(self._longest, rendered.n_tokens)
        self._histogram[_power_of_two(rendered.n_tokens)] += 1
        for finding in {finding.kind: finding for finding in rendered.findings}.values():
            if finding.kind == "refused":
                return _refusal(finding.detail)
            tally = self._findings.setdefault(finding.kind, _Tally(detail=finding.detail))
            tally.count(number)
        return None

    def report(self) -> DatasetReport:
        """Return what was counted so far."""

        def number_of(kind: FindingKind) -> int:
            return self._findings[kind].n_examples if kind in self._findings else 0

        return DatasetReport(
            n_examples=self._n_examples,
            n_rows=self._n_rows,
            tokens=self._tokens,
            loss_tokens=self._loss_tokens,
            longest=self._longest,
            histogram=dict(sorted(self._histogram.items())),
            n_truncated=number_of("truncated"),
            n_untrained=number_of("nothing_trained"),
            warnings=tuple(
                _WARNINGS[kind].format(detail=tally.detail, context_length=self._context_length)
                + f": {tally}."
                for kind, tally in self._findings.items()
            ),
        )


def _refusal(reason: str) -> Complaint:
    return Complaint(
        f"is refused by the base model's chat template: {reason}",
        "It could not be asked of the tuned model either: change the example, or choose another "
        "base model.",
    )


_WARNINGS: Final[Mapping[FindingKind, str]] = {
    "truncated": "Longer than {context_length} tokens, so cut at the end",
    "nothing_trained": "Without a token to learn from, because weights are 0 or answers were cut",
    "no_end_of_turn": (
        "Answered without an end-of-turn token by the base model's chat template, so that the "
        "tokenizer's end token is trained behind the answer"
    ),
    "early_end_of_turn": (
        "With the text of an end-of-turn token in an answer, so that nothing behind it is learned"
    ),
    "other_opening": (
        "Asked with {detail!r} before the answer by the base model's chat template, which leaves it "
        "out when it renders the answer"
    ),
    "rewritten_past": (
        "With an answer that cannot be learned, because the base model's chat template then renders "
        "earlier messages differently"
    ),
    "never_asked": "With an answer that cannot be learned, because nothing comes before it",
}
"""What comes before `: 3 examples (4, 9, 12)`. A refused example is a problem, not a warning."""


def _power_of_two(n_tokens: int) -> int:
    """Return the smallest power of two that is not less."""
    return 1 << max(n_tokens - 1, 0).bit_length()


def listed(numbers: Iterable[int]) -> str:
    """Return `4, 9, 12`."""
    return ", ".join(map(str, numbers))


def counted(count: int, noun: str) -> str:
    """Return `1 example` or `3 examples`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
