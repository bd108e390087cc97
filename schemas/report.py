"""Base against tuned model, as measured after a job: what `report.json` holds, and what the job shows of it."""

from collections.abc import Sequence
from typing import Final, Literal

from schemas.base import Schema

VERSION: Final = 1
"""Of `report.json`. A field may be added under the same number; none is renamed or changes its meaning."""

ReportStatus = Literal["pending", "running", "done", "failed", "skipped"]
Verdict = Literal["better", "worse", "cannot_tell"]
"""Of the tuned model, next to its base."""
Source = Literal["validation_file", "validation_split", "training_file"]
"""Where the examples are from. Those of `training_file` were learned from: they tell nothing of new ones."""
MeasureName = Literal[
    "exact_match", "token_f1", "rouge_l", "json_valid", "json_match", "tool_names", "tool_calls"
]
"""`jobs.reports.measures` says what each is."""
Outcome = Literal["win", "loss", "tie"]
"""Of the tuned model on one example, by the headline's measure."""
Reason = Literal["too_long", "not_askable", "refused", "no_answer"]


class Measure(Schema):
    """One measure over all examples that it applies to; shares and scores are from 0 to 1."""

    name: MeasureName
    n: int
    """Examples."""
    base: float
    tuned: float
    difference: float
    """Tuned minus base."""
    interval: tuple[float, float]
    """95 % interval of the difference: percentiles of a paired bootstrap over the examples."""
    p_value: float
    """Of a paired sign-flip test, two-sided: how often chance alone makes a difference as large."""
    n_better: int
    """Examples on which the tuned model scores higher."""
    n_worse: int
    verdict: Verdict
    """`cannot_tell` unless the interval leaves out 0 and the p-value is below 0.05."""


class Bleu(Schema):
    """BLEU-4 of all answers together, from 0 to 100; it has no interval."""

    n: int
    base: float
    tuned: float
    signature: str
    """sacrebleu's: what must be the same where two scores are to be compared."""


class LabelScores(Schema):
    """How well one label is given."""

    precision: float
    recall: float
    f1: float


class Label(Schema):
    """An answer that several references share."""

    label: str
    support: int
    """References."""
    base: LabelScores
    tuned: LabelScores


class Labels(Schema):
    """Per-label scores, where the references look like labels."""

    labels: list[Label]
    """By support; the first 50."""
    n_labels: int
    confusion: "Confusion | None" = None
    """Null in reports of before it was counted."""
    macro_f1_base: float
    macro_f1_tuned: float
    n_unknown_base: int
    """Answers that are none of the labels."""
    n_unknown_tuned: int


class Confusion(Schema):
    """How often each label was answered with which: a row for each reference, a column for each answer.

    Both in the order of `labels`; one more column, the last, counts answers that are none of these.
    """

    labels: list[str]
    base: list[list[int]]
    tuned: list[list[int]]


class Call(Schema):
    """A function that an answer calls."""

    name: str
    arguments: str
    """JSON, as it was written."""


class Said(Schema):
    """What an assistant answered, or should have."""

    text: str
    """Empty where it only calls."""
    calls: list[Call]
    is_cut: bool = False
    """Whether it was still going on when it had as many tokens as it may."""
    seconds: float | None = None
    """From the question to the whole answer, beside up to three others; null for a reference."""
    n_tokens: int | None = None
    """Of the answer, as the engine counts them; null for a reference."""


class Pair(Schema):
    """An example with both answers. Long texts lose their middle."""

    example: int
    """Its number in the file, from 1."""
    prompt: str
    """The last message before the answer."""
    reference: Said
    base: Said
    tuned: Said


class Comparison(Pair):
    """An example with both answers, and how both did."""

    outcome: Outcome | None
    """Null where the headline's measure does not apply to the reference."""
    scores: dict[MeasureName, tuple[float, float]]
    """Base's and tuned model's, by each measure that applies."""


class Case(Schema):
    """One example with both answers, to be measured."""

    reference: Said
    base: Said
    tuned: Said


class Cases(Schema):
    """What the process that measures is asked (`jobs.reports.measures`)."""

    seed: int
    cases: list[Case]
    """At least one."""


class Scores(Schema):
    """All examples together."""

    headline: Measure
    """The one among `measures` that fits most of the references."""
    measures: list[Measure]
    bleu: Bleu | None
    labels: Labels | None


class Scored(Schema):
    """How both models did on one example."""

    outcome: Outcome | None
    scores: dict[MeasureName, tuple[float, float]]


class Measured(Schema):
    """What the process that measures answers."""

    scores: Scores
    each: list[Scored]
    """In the order of the cases."""


class AnswerTimes(Schema):
    """How long one model's answers took, in seconds, while up to four were asked at a time."""

    n: int
    p50: float
    p95: float
    tokens_per_second: float | None
    """Of each answer by itself, in the mean; null where the engine does not count."""


class Latency(Schema):
    """Of both models: they were asked in turn, so that whoever else asked the engine slowed both."""

    base: AnswerTimes
    tuned: AnswerTimes


class LeftOut(Schema):
    """Why examples that were chosen are not compared."""

    reason: Reason
    n: int
    detail: str


class Compared(Schema):
    """Which examples were compared."""

    source: Source
    file_id: str
    n_available: int
    """Examples in the file."""
    n_chosen: int
    """Evenly spread over the file; the job's seed says where the first one lies."""
    n_compared: int
    """Those that both models answered."""
    n_in_training: int | None
    """Compared examples that the training file has too, word for word; null where that file was deleted."""
    left_out: list[LeftOut]
    n_candidates: int | None = None
    """Of so many states of the model the job ended with the one of the lowest loss on these examples' file.

    From 2 on they are no untouched test set; null in reports of before it was counted.
    """


class Report(Schema):
    """All of `report.json`."""

    object: Literal["fine_tuning.job.report"] = "fine_tuning.job.report"
    version: int = VERSION
    job_id: str
    created_at: int
    """Unix seconds."""
    base_model: str
    tuned_model: str
    examples: Compared
    scores: Scores
    notes: list[str]
    """What a reader must know before trusting the numbers."""
    pairs: list[Pair]
    """Up to twelve of the examples, of every kind of outcome."""
    comparisons: Sequence[Comparison] = ()
    """All compared examples, in the file's order; empty in reports of before they were kept."""
    latency: Latency | None = None


class JobReport(Schema):
    """What a job shows of its report."""

    status: ReportStatus
    file_id: str | None = None
    """Of `report.json`, once it is done."""
    reason: str | None = None
    """Why it failed or was skipped."""
    source: Source | None = None
    headline: Measure | None = None
    notes: list[str] | None = None
    """What to know before trusting the headline, as in `report.json`."""
