"""How a report is shown: its state, its notes in the reader's language, and its examples a page at a time. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, get_args

from api.dashboard.messages import Messages
from api.dashboard.word_diff import Piece, differing, written
from schemas.fine_tuning import Job
from schemas.report import Comparison, Confusion, Outcome, Pair, Report, Said

State = Literal[
    "unfinished", "no_model", "none", "pending", "running", "failed", "skipped", "deleted", "done"
]
Shown = Literal["all", "win", "loss", "tie", "other"]
SHOWN: Final[tuple[Shown, ...]] = get_args(Shown)
"""Examples by their outcome; `other`: the headline's measure does not apply to them."""
PER_PAGE: Final = 10
MOST_LABELS: Final = 20
"""Of a confusion table that is shown; larger ones are in the JSON."""

_FEW: Final = 20
_SHADES: Final = 4


class AnswerShown(NamedTuple):
    """One model's answer to an example."""

    said: Said
    pieces: list[Piece]
    """Marked where it differs from the reference."""


class ExampleShown(NamedTuple):
    """An example with both answers."""

    pair: Pair
    outcome: Outcome | None
    reference: str
    base: AnswerShown
    tuned: AnswerShown


class Cell(NamedTuple):
    """How often a label was answered with another, or with itself."""

    n: int
    shade: int
    """From 0 to 4: the share of its row."""
    is_right: bool


def state_of(job: Job, *, is_there: bool) -> State:
    """Return how far a job's report is.

    Args:
        job: Whose.
        is_there: Whether the file of a report that is done could be read.
    """
    if job.report is None:
        match job.status:
            case "succeeded":
                return "none"
            case "failed" | "cancelled":
                return "no_model"
            case _:
                return "unfinished"
    if job.report.status == "done":
        return "done" if is_there else "deleted"
    return job.report.status


def notes_of(report: Report, t: Messages) -> list[str]:
    """Return what to know before trusting the numbers, in the reader's language.

    A note that this version does not know is told as it was written: then all of them are, in English.
    """
    english = Messages("en")
    notes = list(_notes(report))
    if [_said(note, english) for note in notes] != report.notes:
        return report.notes
    return [_said(note, t) for note in notes]


def counts_of(report: Report) -> dict[Shown, int]:
    """Return how many examples there are of each outcome."""
    outcomes: list[Shown] = [each.outcome or "other" for each in report.comparisons]
    counts: dict[Shown, int] = {"all": len(examples_of(report))}
    for shown in SHOWN[1:]:
        if n := outcomes.count(shown):
            counts[shown] = n
    return counts


def examples_of(report: Report, shown: Shown = "all") -> Sequence[Pair]:
    """Return the examples of one outcome; of reports of before all were kept, the few that were."""
    if shown == "all":
        return report.comparisons or report.pairs
    wanted = None if shown == "other" else shown
    return [each for each in report.comparisons if each.outcome == wanted]


def as_shown(pair: Pair) -> ExampleShown:
    """Return an example with its answers told apart from the reference."""
    reference = written(pair.reference)
    return ExampleShown(
        pair=pair,
        outcome=pair.outcome if isinstance(pair, Comparison) else None,
        reference=reference,
        base=_answer(pair.base, reference),
        tuned=_answer(pair.tuned, reference),
    )


def confusion_rows(confusion: Confusion) -> dict[str, list[list[Cell]]]:
    """Return both models' tables, a row of cells for each label."""
    return {"base": _rows(confusion.base), "tuned": _rows(confusion.tuned)}


def _rows(table: list[list[int]]) -> list[list[Cell]]:
    return [
        [
            Cell(n, shade=-(-_SHADES * n // max(1, sum(row))), is_right=row_number == column)
            for column, n in enumerate(row)
        ]
        for row_number, row in enumerate(table)
    ]


def _answer(said: Said, reference: str) -> AnswerShown:
    return AnswerShown(said, differing(written(said), reference))


class _Note(NamedTuple):
    key: str
    values: dict[str, int | str]


def _said(note: _Note, t: Messages) -> str:
    return t(note.key, **note.values)


def _notes(report: Report) -> Iterator[_Note]:
    """Yield what `jobs.reports.reading` noted, as messages that there are in each language."""
    examples = report.examples
    if examples.source == "training_file":
        yield _Note("report.note.trained_on", {})
    elif examples.n_in_training is None:
        yield _Note("report.note.unknown", {})
    elif examples.n_in_training:
        values: dict[str, int | str] = {"n": examples.n_in_training, "all": examples.n_compared}
        yield _Note("report.note.in_training", values)
    if examples.n_candidates is not None and examples.n_candidates > 1:
        yield _Note("report.note.candidates", {"n": examples.n_candidates})
    if report.scores.headline.verdict == "cannot_tell" and examples.n_compared < _FEW:
        yield _Note("report.note.few", {"n": examples.n_compared})
    for each in examples.left_out:
        yield _Note("report.note.left_out", {"n": each.n, "detail": each.detail})
    if n_cut := sum(1 for each in report.comparisons if each.base.is_cut):
        yield _Note("report.note.cut_base", {"n": n_cut})
    if n_cut := sum(1 for each in report.comparisons if each.tuned.is_cut):
        yield _Note("report.note.cut_tuned", {"n": n_cut})
