"""What makes a report readable: what to know before trusting its numbers, and the answers side by side. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

from jobs.reports.sample import Question
from jobs.reports.texts import is_same
from jobs.terminal_text import without_middle
from schemas.report import (
    AnswerTimes,
    Case,
    Compared,
    Comparison,
    Latency,
    Pair,
    Said,
    Scored,
    Scores,
)

MAX_PAIRS: Final = 12
_SHOWN_CHARACTERS: Final = 2000
_FEW: Final = 20


def notes_on(examples: Compared, cases: Mapping[int, Case], scores: Scores) -> list[str]:
    """Return what a reader must know, the gravest first."""
    return [*_about_source(examples), *_about_examples(examples, scores), *_about_answers(cases)]


def _about_source(examples: Compared) -> Iterator[str]:
    if examples.source == "training_file":
        yield (
            "THESE EXAMPLES WERE TRAINED ON: the job had no validation file. The numbers say how well the model "
            "has learned them, and nothing of how it does on new ones."
        )
    elif examples.n_in_training is None:
        yield "Whether any of these examples was trained on is not known: the training file was deleted."
    elif examples.n_in_training:
        yield (
            f"{examples.n_in_training} of these {examples.n_compared} examples are in the training file too, word "
            "for word. On those the tuned model looks better than it is."
        )
    if examples.n_candidates is not None and examples.n_candidates > 1:
        yield (
            f"These examples are no untouched test set: of {examples.n_candidates} states of the model, the job ended "
            "with the one that had the lowest loss on them. New examples would show the tuned model a little weaker."
        )


def _about_examples(examples: Compared, scores: Scores) -> Iterator[str]:
    if scores.headline.verdict == "cannot_tell" and examples.n_compared < _FEW:
        yield (
            f"{examples.n_compared} example(s) are few: only a large difference shows. A validation file of a "
            "hundred would tell more."
        )
    for each in examples.left_out:
        yield f"{each.n} example(s) were chosen and are left out. {each.detail}"


def _about_answers(cases: Mapping[int, Case]) -> Iterator[str]:
    for name, n_cut in (
        ("base", sum(1 for case in cases.values() if case.base.is_cut)),
        ("tuned model", sum(1 for case in cases.values() if case.tuned.is_cut)),
    ):
        if n_cut:
            yield (
                f"{n_cut} answer(s) of the {name} were cut: they were still going on at twice the reference's length."
            )


def pairs_shown(cases: Mapping[int, Case], questions: Mapping[int, Question]) -> list[Pair]:
    """Return up to `MAX_PAIRS` examples, in the file's order: of each kind of outcome as many as of the others.

    The kinds: only the tuned model says what the reference says, only the base does, neither, both.
    """
    kinds: dict[tuple[bool, bool], list[int]] = {
        (True, False): [], (False, True): [], (False, False): [], (True, True): []
    }  # fmt: skip
    for number, case in cases.items():
        kind = is_same(case.tuned, case.reference), is_same(case.base, case.reference)
        kinds[kind].append(number)
    shown: list[int] = []
    while len(shown) < min(MAX_PAIRS, len(cases)):
        shown += [numbers.pop(0) for numbers in kinds.values() if numbers]
    return [_pair(number, cases[number], questions[number]) for number in sorted(shown[:MAX_PAIRS])]


def comparisons(
    cases: Mapping[int, Case], questions: Mapping[int, Question], each: Sequence[Scored]
) -> list[Comparison]:
    """Return every compared example; `each` is in the order of the cases."""
    return [
        Comparison(
            **dict(_pair(number, case, questions[number])),
            outcome=scored.outcome,
            scores=scored.scores,
        )
        for (number, case), scored in zip(cases.items(), each, strict=True)
    ]


def latency_of(cases: Mapping[int, Case]) -> Latency | None:
    """Return how long both models took; None where nobody looked at a clock."""
    base = _times([case.base for case in cases.values()])
    tuned = _times([case.tuned for case in cases.values()])
    return Latency(base=base, tuned=tuned) if base and tuned else None


def _times(answers: Sequence[Said]) -> AnswerTimes | None:
    seconds = sorted(said.seconds for said in answers if said.seconds is not None)
    if not seconds:
        return None
    rates = [said.n_tokens / said.seconds for said in answers if said.n_tokens and said.seconds]
    return AnswerTimes(
        n=len(seconds),
        p50=seconds[len(seconds) // 2],
        p95=seconds[int(0.95 * (len(seconds) - 1))],
        tokens_per_second=round(fmean(rates), 1) if rates else None,
    )


def _pair(number: int, case: Case, question: Question) -> Pair:
    return Pair(
        example=number,
        prompt=without_middle(question.prompt, longest=_SHOWN_CHARACTERS),
        reference=_shortened(case.reference),
        base=_shortened(case.base),
        tuned=_shortened(case.tuned),
    )


def _shortened(said: Said) -> Said:
    calls = [
        call.model_copy(
            update={"arguments": without_middle(call.arguments, longest=_SHOWN_CHARACTERS)}
        )
        for call in said.calls
    ]
    text = without_middle(said.text, longest=_SHOWN_CHARACTERS)
    return said.model_copy(update={"text": text, "calls": calls})
