"""How close answers are to their references, by the metrics libraries of the field.

Runs as a process of its own (`python -m jobs.reports.measures`), as do the graders' metrics and for the same
reason: the libraries take a third of a second to load and count in pure Python.

- `exact_match`: says and calls the same (`jobs.reports.texts.is_same`).
- `token_f1`, `rouge_l`: F1 of common words, and of the longest common subsequence of words, by Google's rouge-score.
  Its own tokens are ASCII only, so it is given ours. Of references that have words.
- `json_valid`, `json_match`: the answer is JSON; it has the reference's value. Of references that are a JSON object or array.
- `tool_names`, `tool_calls`: the same functions are called; with the same arguments, as JSON values. Of references that call.
- `bleu`: corpus BLEU of sacrebleu. Where a reference has four words; BLEU counts runs of four.
- labels: precision, recall and F1 of nltk, where the references are few different short texts.
"""

import resource
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Final

from nltk.metrics.scores import f_measure, precision, recall
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import BLEU

from jobs.reports.chance import bootstrap_interval, sign_flip_p, verdict_of
from jobs.reports.texts import (
    called,
    is_json_document,
    is_same,
    json_value,
    normalized,
    words,
    writes_chinese,
)
from schemas.report import (
    Bleu,
    Case,
    Cases,
    Confusion,
    Label,
    Labels,
    LabelScores,
    Measure,
    Measured,
    MeasureName,
    Outcome,
    Said,
    Scored,
    Scores,
)

_MEMORY_BYTES: Final = 2 * 2**30
_MIN_LABELLED: Final = 8
"""References from which on they may be labels."""
_MAX_LABEL: Final = 64
"""Characters."""
_SHOWN_LABELS: Final = 50
_SHORT_WORDS: Final = 5
_BLEU_WORDS: Final = 4


class _Words:
    """What rouge-score asks for words."""

    def tokenize(self, text: str) -> list[str]:
        """Return them."""
        return words(text)


# One each: a scorer of both would make ROUGE-L's table, by far the longest work here, twice.
_ROUGE_1: Final = RougeScorer(["rouge1"], tokenizer=_Words())
_ROUGE_L: Final = RougeScorer(["rougeL"], tokenizer=_Words())
_Score = Callable[[Said, Said], float]
_OfExample = Mapping[MeasureName, tuple[float, float]]
"""Base's and tuned model's score, by each measure that applies to the example."""


def compare(cases: Sequence[Case], *, seed: int) -> Measured:
    """Return every measure that applies to any of the cases, of which there is at least one."""
    each = [_of_example(case) for case in cases]
    measures = [
        _measure(name, scored, seed=seed)
        for name in _MEASURES
        if (scored := [scores[name] for scores in each if name in scores])
    ]
    labels = _labels(cases)
    wanted = _headline(cases, is_labelled=labels is not None)
    scores = Scores(
        headline=next(measure for measure in measures if measure.name == wanted),
        measures=measures,
        bleu=_bleu([case for case in cases if _has_words(case.reference)]),
        labels=labels,
    )
    return Measured(scores=scores, each=[_scored(scores, wanted) for scores in each])


def _of_example(case: Case) -> _OfExample:
    return {
        name: (score(case.base, case.reference), score(case.tuned, case.reference))
        for name, (applies, score) in _MEASURES.items()
        if applies(case.reference)
    }


def _scored(scores: _OfExample, headline: MeasureName) -> Scored:
    outcome: Outcome | None = None
    if headline in scores:
        before, after = scores[headline]
        outcome = "win" if after > before else "loss" if after < before else "tie"
    rounded = {name: (round(base, 4), round(tuned, 4)) for name, (base, tuned) in scores.items()}
    return Scored(outcome=outcome, scores=rounded)


def _measure(name: MeasureName, scored: Sequence[tuple[float, float]], *, seed: int) -> Measure:
    base, tuned = [before for before, _ in scored], [after for _, after in scored]
    differences = [after - before for before, after in zip(base, tuned, strict=True)]
    low, high = bootstrap_interval(differences, seed=seed)
    p_value = sign_flip_p(differences, seed=seed)
    return Measure(
        name=name,
        n=len(scored),
        base=round(fmean(base), 4),
        tuned=round(fmean(tuned), 4),
        difference=round(fmean(differences), 4),
        interval=(round(low, 4), round(high, 4)),
        p_value=round(p_value, 5),
        n_better=sum(1 for difference in differences if difference > 0),
        n_worse=sum(1 for difference in differences if difference < 0),
        verdict=verdict_of((low, high), p_value),
    )


def _headline(cases: Sequence[Case], *, is_labelled: bool) -> MeasureName:
    """Return the measure that fits most of the references."""
    references = [case.reference for case in cases]
    if 2 * sum(1 for said in references if said.calls) >= len(references):
        return "tool_calls"
    if 2 * sum(1 for said in references if _is_json(said)) >= len(references):
        return "json_match"
    lengths = sorted(len(words(said.text)) for said in references)
    if is_labelled or lengths[len(lengths) // 2] <= _SHORT_WORDS:
        return "exact_match"
    return "rouge_l"


def _exact(said: Said, reference: Said) -> float:
    return float(is_same(said, reference))


def _token_f1(said: Said, reference: Said) -> float:
    return float(_ROUGE_1.score(reference.text, said.text)["rouge1"].fmeasure)


def _rouge_l(said: Said, reference: Said) -> float:
    return float(_ROUGE_L.score(reference.text, said.text)["rougeL"].fmeasure)


def _json_valid(said: Said, _: Said) -> float:
    return float(json_value(said.text) is not None)


def _json_match(said: Said, reference: Said) -> float:
    return float(json_value(said.text) == json_value(reference.text))


def _tool_names(said: Said, reference: Said) -> float:
    return float(sorted(c.name for c in said.calls) == sorted(c.name for c in reference.calls))


def _tool_calls(said: Said, reference: Said) -> float:
    return float(called(said.calls) == called(reference.calls))


def _always(_: Said) -> bool:
    return True


def _has_words(reference: Said) -> bool:
    return bool(words(reference.text))


def _is_json(reference: Said) -> bool:
    return is_json_document(reference.text)


def _has_calls(reference: Said) -> bool:
    return bool(reference.calls)


_MEASURES: Final[Mapping[MeasureName, tuple[Callable[[Said], bool], _Score]]] = {
    "exact_match": (_always, _exact),
    "token_f1": (_has_words, _token_f1),
    "rouge_l": (_has_words, _rouge_l),
    "json_valid": (_is_json, _json_valid),
    "json_match": (_is_json, _json_match),
    "tool_names": (_has_calls, _tool_names),
    "tool_calls": (_has_calls, _tool_calls),
}
"""To which references each applies, and what an answer scores next to one."""


def _bleu(cases: Sequence[Case]) -> Bleu | None:
    references = [case.reference.text for case in cases]
    if not any(len(words(text)) >= _BLEU_WORDS for text in references):
        return None
    bleu = BLEU(tokenize="zh" if writes_chinese(references) else "13a")
    base = bleu.corpus_score([case.base.text for case in cases], [references])
    tuned = bleu.corpus_score([case.tuned.text for case in cases], [references])
    return Bleu(
        n=len(cases),
        base=round(base.score, 2),
        tuned=round(tuned.score, 2),
        signature=str(bleu.get_signature()),
    )


def _labels(cases: Sequence[Case]) -> Labels | None:
    """Return per-label scores, or None where the references are no labels."""
    references = [normalized(case.reference.text) for case in cases]
    counted = Counter(references)
    are_short = all(
        text and len(text) <= _MAX_LABEL and not case.reference.calls
        for text, case in zip(references, cases, strict=True)
    )
    if len(cases) < _MIN_LABELLED or not are_short or 2 * len(counted) > len(cases):
        return None
    base = [normalized(case.base.text) for case in cases]
    tuned = [normalized(case.tuned.text) for case in cases]
    labels = [
        Label(
            label=label,
            support=support,
            base=_label_scores(label, base, references),
            tuned=_label_scores(label, tuned, references),
        )
        for label, support in sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    ]
    return Labels(
        labels=labels[:_SHOWN_LABELS],
        n_labels=len(labels),
        confusion=_confusion(
            [label.label for label in labels[:_SHOWN_LABELS]], references, base, tuned
        ),
        macro_f1_base=round(fmean(label.base.f1 for label in labels), 4),
        macro_f1_tuned=round(fmean(label.tuned.f1 for label in labels), 4),
        n_unknown_base=sum(1 for answer in base if answer not in counted),
        n_unknown_tuned=sum(1 for answer in tuned if answer not in counted),
    )


def _confusion(
    labels: list[str], references: Sequence[str], base: Sequence[str], tuned: Sequence[str]
) -> Confusion:
    def table(answers: Sequence[str]) -> list[list[int]]:
        rows = {label: [0] * (len(labels) + 1) for label in labels}
        for reference, answer in zip(references, answers, strict=True):
            if reference in rows:
                rows[reference][column.get(answer, len(labels))] += 1
        return list(rows.values())

    column = {label: place for place, label in enumerate(labels)}
    return Confusion(labels=labels, base=table(base), tuned=table(tuned))


def _label_scores(label: str, answers: Sequence[str], references: Sequence[str]) -> LabelScores:
    given = {place for place, answer in enumerate(answers) if answer == label}
    wanted = {place for place, reference in enumerate(references) if reference == label}
    # nltk has no number where the label was never given; that is a 0 to whoever waits for it.
    return LabelScores(
        precision=round(precision(wanted, given) or 0.0, 6),
        recall=round(recall(wanted, given) or 0.0, 6),
        f1=round(f_measure(wanted, given) or 0.0, 6),
    )


def main() -> None:
    """Answer `Cases` on standard input with `Measured` on standard output."""
    # ROUGE-L's table grows with the product of both lengths.
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    asked = Cases.model_validate_json(sys.stdin.buffer.read())
    sys.stdout.write(compare(asked.cases, seed=asked.seed).model_dump_json())


if __name__ == "__main__":
    main()
