"""How a report looks to a person."""

from io import StringIO

import pytest
from rich.console import Console

from jobs.reports.reading import MAX_PAIRS
from jobs.reports.view import print_report
from jobs.terminal_text import without_middle
from schemas.report import Case, LeftOut, Report
from tests.sample_reports import labelled, report, said


def shown(report, *, width=80):
    """What a terminal shows."""
    console = Console(file=StringIO(), width=width)
    print_report(report, console)
    return console.file.getvalue()


def test_the_verdict_comes_first():
    """Whose, next to whom, by which measure, on how many of which examples."""
    text = shown(report(labelled()), width=200)
    assert text.startswith(
        "✓ ft:retune-nano:local:bank:abcd1234 is better than its base, retune-nano: exact match 100% "
        "against 0%, on 16 examples of its validation file."
    )
    assert "+100.0 [+100, +100]" in text
    assert "16 / 0" in text
    assert "card_stolen" in text


def test_what_is_cut_twice_tells_what_is_missing():
    """A report keeps 2,000 characters of a text, and a terminal shows 400 of these."""
    text = "".join(chr(97 + n % 26) for n in range(12_345))
    kept = without_middle(text, longest=2000)
    assert without_middle(kept, longest=400) == without_middle(text, longest=400)
    assert "[…11,945 characters…]" in without_middle(kept, longest=400)


def test_it_fits_eighty_columns():
    """Long answers, labels and all."""
    long = Case(reference=said("word " * 300), base=said("x" * 3000, is_cut=True), tuned=said("y"))
    text = shown(report([*labelled(), long]))
    assert max(map(len, text.splitlines())) <= 80
    assert "characters…" in text


def test_what_was_trained_on_cannot_be_overlooked():
    """The verdict and the first note say so."""
    text = shown(report(labelled(), source="training_file", n_in_training=16), width=200)
    assert "TRAINED ON" in text.splitlines()[0]
    assert "THESE EXAMPLES WERE TRAINED ON" in text.splitlines()[2]


def test_what_is_not_known_is_not_claimed():
    """Four answers better and none worse may be chance."""
    cases = [Case(reference=said("a"), base=said("b"), tuned=said("a"))] * 4
    text = shown(report(cases), width=200)
    assert text.startswith("? ")
    assert "not shown to be better or worse" in text
    assert "4 example(s) are few" in text


def test_answers_that_try_to_move_the_cursor_are_shown():
    """Escapes and markup of models and users are text."""
    case = Case(reference=said("\x1b[2J[red]x"), base=said("\u202eabc"), tuned=said("[/]"))
    text = shown(report([case], prompts={1: "[bold]?\x07"}))
    assert "\x1b" not in text
    assert "\\x1b[2J[red]x" in text
    assert "\\u202eabc" in text
    assert "[bold]?\\x07" in text


def test_calls_are_shown_as_calls():
    """Name and arguments; an answer without anything says so."""
    call = said("", ("weather", '{"city": "Rome"}'))
    text = shown(report([Case(reference=call, base=said(), tuned=call)]))
    assert 'weather({"city": "Rome"})' in text
    assert "(nothing)" in text


def test_every_example_is_compared():
    """With prompt, reference, both answers, scores and outcome; however long the texts, the report stays small."""
    long = said("word " * 2000, ("f", '{"a": "' + "x" * 9000 + '"}'))
    cases = [*labelled(), Case(reference=long, base=long, tuned=long)]
    made = report(cases)
    assert [each.example for each in made.comparisons] == list(range(1, 18))
    first = made.comparisons[0]
    assert (first.prompt, first.reference.text) == ("My card is gone", "card_lost")
    assert (first.base.text, first.tuned.text) == ("I can help.", "card_lost")
    assert (first.outcome, first.scores["exact_match"]) == ("win", (0, 1))
    assert made.comparisons[16].outcome == "tie"
    assert max(len(each.model_dump_json()) for each in made.comparisons) < 20_000


def test_latency_is_told():
    """Median, 95th percentile, and how fast each answer was written; none where nobody looked at a clock."""
    timed = [
        Case(
            reference=said("a"),
            base=said("b").model_copy(update={"seconds": n / 10, "n_tokens": n}),
            tuned=said("a").model_copy(update={"seconds": 0.1, "n_tokens": 5}),
        )
        for n in range(1, 102)
    ]
    latency = report(timed).latency
    assert latency.base.model_dump() == {"n": 101, "p50": 5.1, "p95": 9.6, "tokens_per_second": 10}
    assert latency.tuned.tokens_per_second == 50
    assert "5.1 s" in shown(report(timed))
    assert report(labelled()).latency is None


def test_a_report_of_before_is_read():
    """What was added since is empty or null, and it is shown as it was."""
    old = report(labelled()).model_dump(exclude={"comparisons", "latency"})
    del old["examples"]["n_candidates"]
    del old["scores"]["labels"]["confusion"]
    for pair in old["pairs"]:
        for who in ("reference", "base", "tuned"):
            del pair[who]["seconds"], pair[who]["n_tokens"]
    read = Report.model_validate(old)
    assert (list(read.comparisons), read.latency, read.examples.n_candidates) == ([], None, None)
    assert shown(read) == shown(report(labelled()))


def test_pairs_are_of_every_kind():
    """As many as fit, the kinds in turn, in the file's order: who loses nothing by it is not left out."""
    right, wrong = said("a"), said("b")
    kinds = {
        "won": Case(reference=right, base=wrong, tuned=right),
        "lost": Case(reference=right, base=right, tuned=wrong),
        "neither": Case(reference=right, base=wrong, tuned=wrong),
    }
    cases = [kinds["won"]] * 30 + [kinds["lost"]] * 2 + [kinds["neither"]] * 30
    pairs = report(cases).pairs
    assert len(pairs) == MAX_PAIRS
    numbers = [pair.example for pair in pairs]
    assert numbers == sorted(numbers)
    assert {31, 32} <= set(numbers)
    assert sum(1 for number in numbers if number <= 30) == 5
    assert len(report(cases[:3]).pairs) == 3


@pytest.mark.parametrize(
    ("update", "told"),
    [
        ({"n_in_training": 3}, "3 of these 16 examples are in the training file too"),
        ({"n_in_training": None}, "the training file was deleted"),
        (
            {"n_candidates": 3},
            "no untouched test set: of 3 states of the model, the job ended with the one",
        ),
        (
            {"left_out": [LeftOut(reason="too_long", n=2, detail="Too long.")]},
            "2 example(s) were chosen and are left out. Too long.",
        ),
    ],
)
def test_notes_say_what_to_know(update, told):
    """Before anybody trusts the numbers."""
    assert told in " ".join(report(labelled(), **update).notes)
