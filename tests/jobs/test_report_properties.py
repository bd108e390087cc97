"""The report's measures, whatever models write: held against the libraries and against plain counting."""

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import BLEU

from jobs.reports.measures import compare
from jobs.reports.sample import said_by
from jobs.reports.texts import is_same, normalized, words
from schemas.report import Call, Case, Said
from schemas.training_file import AssistantMessage

# The bootstrap draws 4,000 times for each measure of an example: few examples, and no clock beside other tests.
few = settings(max_examples=10, deadline=None)
many = settings(max_examples=50, deadline=None)

texts = st.one_of(
    st.text(max_size=40),
    st.sampled_from(["", " ", "\n", "{}", "[1, 2]", "null", "🙂", "我的卡", "карта", "e\u0301"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)
arguments = st.dictionaries(st.text(max_size=4), json_values, max_size=4)
calls = st.builds(
    Call,
    name=st.sampled_from(["f", "g", "weather"]),
    arguments=st.one_of(arguments.map(json.dumps), st.text(max_size=10)),
)
answers = st.builds(Said, text=texts, calls=st.lists(calls, max_size=3))
cases = st.builds(Case, reference=answers, base=answers, tuned=answers)


def said(text="", *called):
    return Said(text=text, calls=[Call(name=name, arguments=given_) for name, given_ in called])


def scores(reference, answer):
    """The answer's scores, as the tuned model's."""
    (each,) = compare([Case(reference=reference, base=said("?"), tuned=answer)], seed=1).each
    return {name: tuned for name, (_, tuned) in each.scores.items()}


@few
@given(st.lists(cases, min_size=1, max_size=6))
def test_whatever_is_answered_is_measured(compared):
    """No answer breaks a report; scores are shares, their means are the measures, every example has an outcome or none."""
    found = compare(compared, seed=1)
    assert len(found.each) == len(compared)
    for measure in found.scores.measures:
        own = [each.scores[measure.name] for each in found.each if measure.name in each.scores]
        assert all(0 <= score <= 1 for pair in own for score in pair)
        assert measure.n == len(own)
        assert abs(measure.base - sum(base for base, _ in own) / len(own)) < 2e-4
        assert abs(measure.tuned - sum(tuned for _, tuned in own) / len(own)) < 2e-4
        assert measure.n_better + measure.n_worse <= measure.n
    headline = found.scores.headline
    outcomes = Counter(each.outcome for each in found.each)
    assert (outcomes["win"], outcomes["loss"]) == (headline.n_better, headline.n_worse)
    assert len(compared) - outcomes[None] == headline.n


@few
@given(answers)
def test_the_reference_itself_is_right(reference):
    """By every measure that applies to it."""
    assert set(scores(reference, reference).values()) == {1.0}


@few
@given(answers)
def test_an_empty_answer_is_right_only_where_nothing_was_to_be_said(reference):
    """It is equal to nothing else, shares no word, is no JSON and calls nothing."""
    found = scores(reference, said())
    nothing = not normalized(reference.text) and not reference.calls
    assert found.pop("exact_match") == nothing
    assert set(found.values()) <= {0.0}


@few
@given(st.lists(st.sampled_from("abcd"), min_size=1), st.lists(st.sampled_from("abcd")))
def test_words_are_scored_as_the_library_scores_them(reference, answer):
    """On what rouge-score's own tokens can read, token F1 and ROUGE-L are its ROUGE-1 and ROUGE-L."""
    reference, answer = " ".join(reference), " ".join(answer)
    library = RougeScorer(["rouge1", "rougeL"]).score(reference, answer)
    found = scores(said(reference), said(answer))
    assert found["token_f1"] == round(library["rouge1"].fmeasure, 4)
    assert found["rouge_l"] == round(library["rougeL"].fmeasure, 4)


@few
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
def test_bleu_is_the_librarys(pairs):
    """Over all references with words, where one has four; else there is none."""
    compared = [Case(reference=said(a), base=said(), tuned=said(b)) for a, b in pairs]
    compared.append(Case(reference=said("one two three four"), base=said(), tuned=said("one two")))
    bleu = compare(compared, seed=1).scores.bleu
    worded = [case for case in compared if words(case.reference.text)]
    library = BLEU(tokenize="zh" if ":zh" in bleu.signature else "13a").corpus_score(
        [case.tuned.text for case in worded], [[case.reference.text for case in worded]]
    )
    assert (bleu.n, bleu.tuned) == (len(worded), round(library.score, 2))


@many
@given(st.lists(st.tuples(st.sampled_from("fgh"), arguments), max_size=4), st.randoms())
def test_calls_match_in_any_order(called, random):
    """Of the calls, and of their arguments' names; one call more or less is another answer."""
    shuffled = [
        (name, json.dumps(dict(random.sample(list(given_.items()), len(given_))), indent=1))
        for name, given_ in random.sample(called, len(called))
    ]
    reference = said("", *((name, json.dumps(given_)) for name, given_ in called))
    assert is_same(said("", *shuffled), reference)
    assert not is_same(said("", *shuffled, ("f", "{}")), reference)
    if shuffled:
        assert not is_same(said("", *shuffled[1:]), reference)


def test_no_arguments_are_no_arguments():
    """However a model writes that: nothing at all, blanks or an empty object."""
    for written in ("", " ", "{}", "{ }"):
        assert is_same(said("", ("f", written)), said("", ("f", "{}")))
    assert not is_same(said("", ("f", "null")), said("", ("f", "{}")))


def test_a_refusal_is_what_it_says():
    """A reference that refuses is compared by its words, as an answer that refuses comes from an engine."""
    refusal = said_by(AssistantMessage(role="assistant", refusal="I cannot help with that."))
    assert scores(refusal, said("I cannot help with that."))["exact_match"] == 1
    assert scores(refusal, said("Sure!"))["exact_match"] == 0


@few
@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.sampled_from(["A", " B", "C\n", "none", ""])),
        min_size=8,
        max_size=20,
    )
)
def test_labels_are_counted(pairs):
    """Precision, recall, F1 and the confusion table are what counting gives, wherever references are a few labels."""
    compared = [Case(reference=said(a), base=said(), tuned=said(b)) for a, b in pairs]
    labels = compare(compared, seed=1).scores.labels
    stripped = [(a, b.strip()) for a, b in pairs]
    assert {label.label for label in labels.labels} == {a for a, _ in pairs}
    for label in labels.labels:
        right = sum(1 for a, b in stripped if a == b == label.label)
        given_ = sum(1 for _, b in stripped if b == label.label)
        assert label.support == sum(1 for a, _ in stripped if a == label.label)
        assert label.tuned.recall == round(right / label.support, 6)
        assert label.tuned.precision == round(right / given_ if given_ else 0, 6)
        assert label.tuned.f1 == round(2 * right / (given_ + label.support), 6)
        row = labels.confusion.tuned[labels.confusion.labels.index(label.label)]
        assert row[labels.confusion.labels.index(label.label)] == right
    assert sum(map(sum, labels.confusion.tuned)) == len(pairs)
    assert labels.n_unknown_tuned == sum(1 for _, b in stripped if b not in {a for a, _ in pairs})


@few
@given(st.lists(answers, min_size=8, max_size=16))
def test_labels_are_few_short_texts(references):
    """No label is scored where a reference calls, is empty or long, or where more than half are different."""
    compared = [Case(reference=each, base=said(), tuned=said()) for each in references]
    different = {normalized(each.text) for each in references}
    expected = all(
        0 < len(normalized(each.text)) <= 64 and not each.calls for each in references
    ) and 2 * len(different) <= len(references)
    assert (compare(compared, seed=1).scores.labels is not None) is expected
