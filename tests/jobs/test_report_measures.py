"""The report's measures, against examples that were worked out by hand."""

import pytest

from jobs.reports.chance import bootstrap_interval, sign_flip_p, verdict_of
from jobs.reports.measures import compare
from jobs.reports.texts import called, is_json_document, is_same, json_value, normalized, words
from schemas.report import Call, Case, Said


def said(text="", *calls):
    return Said(text=text, calls=[Call(name=name, arguments=given) for name, given in calls])


def case(reference, *, base, tuned):
    return Case(reference=said(reference), base=said(base), tuned=said(tuned))


def measured(*cases):
    """Return base and tuned score by measure."""
    return {each.name: (each.base, each.tuned) for each in scores_of(cases, seed=1).measures}


def scores_of(cases, *, seed):
    return compare(cases, seed=seed).scores


def headline(*references, n=1):
    cases = [Case(reference=each, base=said("?"), tuned=each) for each in references * n]
    return scores_of(cases, seed=1).headline.name


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("a  b\n", " a b", True),
        ("cafe\u0301", "caf\u00e9", True),
        ("Card lost", "card lost", False),
        ("card lost.", "card lost", False),
    ],
)
def test_exact_match_forgives_white_space_and_unicode_forms_only(one, other, same):
    """Case and punctuation may be what was to be learned."""
    assert (normalized(one) == normalized(other)) is same


def test_words_are_those_of_any_script():
    """Case folded and without punctuation; where a script has no spaces, each character is one."""
    assert words("Don't, STOP: straße!") == ["don", "t", "stop", "strasse"]
    assert words("Привет, мир") == ["привет", "мир"]
    assert words("我喜欢 cats。") == ["我", "喜", "欢", "cats"]
    assert words("🙂 …") == []


def test_token_f1_and_rouge_l():
    """Two of three words in common are 2/3; of four words in another order three are in sequence."""
    scores = measured(case("the cat sat", base="dog", tuned="the cat ran"))
    assert scores["token_f1"] == (0, 0.6667)
    scores = measured(case("a b c d", base="a b c d", tuned="a c b d"))
    assert scores["token_f1"] == (1, 1)
    assert scores["rouge_l"] == (1, 0.75)
    # Words that come twice count twice: precision 2/2, recall 2/4.
    assert measured(case("no no no yes", base="", tuned="no no"))["token_f1"] == (0, 0.6667)


def test_other_scripts_are_measured_too():
    """rouge-score's own tokens are ASCII only, and would give nothing here."""
    scores = measured(case("Карта потеряна", base="Карта", tuned="карта потеряна!"))
    assert scores["rouge_l"] == (0.6667, 1)
    assert measured(case("我喜欢猫", base="猫", tuned="我喜欢狗"))["rouge_l"] == (0.4, 0.75)


def test_json_is_compared_as_values():
    """Order of keys, spaces and `1.0` for `1` change nothing; `true` for `1` does, and NaN is no JSON."""
    assert json_value('{"a": 1, "b": [2.0]}') == json_value('{"b":[2],"a":1.0}')
    assert json_value("[true]") != json_value("[1]")
    assert json_value("NaN") is None
    assert json_value("[1e999]") is None
    assert json_value("[" * 100_000) is None
    assert [is_json_document(text) for text in ('{"a": 1}', " []", "42", "{a: 1}")] == [
        True, True, False, False
    ]  # fmt: skip


def test_json_measures_count_references_that_are_json_only():
    """One of two references is an object: base answers it with none, tuned with the same."""
    scores = scores_of(
        [
            case('{"code": 7}', base="code 7", tuned='{ "code": 7.0 }'),
            case("just words", base="{}", tuned="{}"),
        ],
        seed=1,
    )
    found = {each.name: (each.n, each.base, each.tuned) for each in scores.measures}
    assert found["json_valid"] == (1, 0, 1)
    assert found["json_match"] == (1, 0, 1)
    assert found["exact_match"] == (2, 0, 0)


def test_calls_match_by_name_and_argument_values():
    """In any order; arguments that are no JSON match as they are written."""
    reference = [("f", '{"a": 1, "b": 2}'), ("g", "{}")]
    same = said("", ("g", " {} "), ("f", '{"b": 2, "a": 1}'))
    assert is_same(same, said("", *reference))
    assert called(said("", ("f", "{broken")).calls) == [("f", "{broken")]
    case_ = Case(
        reference=said("", *reference),
        base=said("f and g"),
        tuned=said("", ("f", '{"a": 1, "b": 3}'), ("g", "{}")),
    )
    scores = measured(case_)
    assert scores["tool_names"] == (0, 1)
    assert scores["tool_calls"] == (0, 0)


def test_what_an_answer_says_beside_a_call_counts():
    """An exact match says and calls the same."""
    assert not is_same(said("Sure!", ("f", "{}")), said("", ("f", "{}")))
    assert not is_same(said("x"), said("x", ("f", "{}")))


def test_labels_have_precision_recall_and_f1():
    """Of four A and four B, three A are given, all rightly, and four B, three of them rightly; one answer is neither."""
    references, tuned = "AAAABBBB", ["A", "A", "A", "B", "B", "B", "B", "none"]
    cases = [
        case(reference, base="A", tuned=answer)
        for reference, answer in zip(references, tuned, strict=True)
    ]
    labels = scores_of(cases, seed=1).labels
    assert [(label.label, label.support) for label in labels.labels] == [("A", 4), ("B", 4)]
    a, b = labels.labels
    assert a.tuned.model_dump() == {"precision": 1, "recall": 0.75, "f1": 0.857143}
    assert b.tuned.model_dump() == {"precision": 0.75, "recall": 0.75, "f1": 0.75}
    assert a.base.model_dump() == {"precision": 0.5, "recall": 1, "f1": 0.666667}
    assert b.base.model_dump() == {"precision": 0, "recall": 0, "f1": 0}
    assert (labels.macro_f1_base, labels.macro_f1_tuned) == (0.3333, 0.8036)
    assert (labels.n_unknown_base, labels.n_unknown_tuned) == (0, 1)


def test_the_confusion_table_counts_every_answer_once():
    """Rows are references, columns answers, in the labels' order; what is no label is in the last column."""
    cases = [
        case(reference, base="A", tuned=answer)
        for reference, answer in zip(
            "AAAABBBB", ["A", "A", "B", "?", "B", "B", "", "A"], strict=True
        )
    ]
    found = scores_of(cases, seed=1).labels.confusion
    assert found.labels == ["A", "B"]
    assert found.base == [[4, 0, 0], [4, 0, 0]]
    assert found.tuned == [[2, 1, 1], [1, 2, 1]]


def test_rare_labels_are_counted_together():
    """Of more than fifty labels the table shows the most frequent; answers of others are in the last column."""
    codes = [f"code {n:02}" for n in range(60)]
    cases = [case(code, base=codes[-1], tuned=code) for code in codes * 2]
    found = scores_of(cases, seed=1).labels.confusion
    assert found.labels == codes[:50]
    assert {tuple(row) for row in found.base} == {(*[0] * 50, 2)}
    assert sum(row[place] for place, row in enumerate(found.tuned)) == 100


def test_wins_losses_and_ties_are_those_of_the_headline():
    """Each example has its scores, and who won by the headline's measure; none where it does not apply."""
    object_ = '{"a": 1}'
    measured_ = compare(
        [
            case(object_, base="no", tuned=object_),
            case(object_, base=object_, tuned="no"),
            case(object_, base="no", tuned="no"),
            case("words", base="words", tuned="no"),
        ],
        seed=1,
    )
    assert measured_.scores.headline.name == "json_match"
    assert [each.outcome for each in measured_.each] == ["win", "loss", "tie", None]
    assert measured_.each[0].scores["json_match"] == (0, 1)
    assert measured_.each[3].scores == {
        "exact_match": (1, 0), "token_f1": (1, 0), "rouge_l": (1, 0)
    }  # fmt: skip
    headline_ = measured_.scores.headline
    assert (headline_.n_better, headline_.n_worse, headline_.n) == (1, 1, 3)


def test_what_hardly_repeats_is_no_label():
    """Five different answers among eight, seven examples, or long texts are not scored by label."""
    for references in ("ABCDEEEE", "AABBCCC", ["x" * 65] * 8):
        cases = [case(each, base="A", tuned="A") for each in references]
        assert scores_of(cases, seed=1).labels is None


def test_bleu_is_of_all_answers_together():
    """100 for the references themselves; sacrebleu's signature says how it was counted."""
    text = "the quick brown fox jumps"
    bleu = scores_of([case(text, base="a dog", tuned=text)], seed=1).bleu
    assert (bleu.n, bleu.base, bleu.tuned) == (1, 0, 100)
    assert "tok:13a" in bleu.signature
    assert scores_of([case("three short words", base="", tuned="")], seed=1).bleu is None
    assert "tok:zh" in scores_of([case("我很高兴见到你", base="", tuned="")], seed=1).bleu.signature


@pytest.mark.parametrize(
    ("reference", "wanted"),
    [
        (said("", ("f", "{}")), "tool_calls"),
        (said('{"a": 1}'), "json_match"),
        (said("card_lost"), "exact_match"),
        (said("a long answer of more than five words"), "rouge_l"),
    ],
)
def test_the_headline_fits_the_references(reference, wanted):
    """Calls are judged by calls, JSON by its value, short answers by being the same, long ones by ROUGE-L."""
    assert headline(reference) == wanted


def test_labels_of_many_words_are_judged_by_being_the_same():
    """However long they are."""
    label = said("the customer asks about a card that was lost")
    assert headline(label, n=8) == "exact_match"


def test_the_sign_flip_test_is_exact_for_few_changes():
    """Four of eight better and none worse come by chance in 2 of 16 cases; eight of eight in 2 of 256."""
    assert sign_flip_p([1, 1, 1, 1, 0, 0, 0, 0], seed=1) == 0.125
    assert sign_flip_p([1] * 8, seed=1) == 2 / 256
    assert sign_flip_p([0.0] * 5, seed=1) == 1
    assert sign_flip_p([1, -1, 1, -1], seed=1) == 1


def test_the_sign_flip_test_draws_for_many():
    """Thirty changes all one way do not happen; as many to and fro do. The same seed draws the same."""
    assert sign_flip_p([1] * 30, seed=1) < 0.001
    assert sign_flip_p([1, -1] * 15, seed=1) == 1
    mixed = [1] * 20 + [-1] * 10
    assert sign_flip_p(mixed, seed=3) == sign_flip_p(mixed, seed=3)
    # The exact binomial probability of 20 or more of 30, twice: 0.0987.
    assert sign_flip_p(mixed, seed=3) == pytest.approx(0.0987, abs=0.015)


def test_the_bootstrap_finds_the_normal_interval():
    """Of 30 changes among 100, within a hundredth of 0.3 ± 1.96·sqrt(0.3·0.7/100)."""
    low, high = bootstrap_interval([1.0] * 30 + [0.0] * 70, seed=1)
    assert (low, high) == pytest.approx((0.2102, 0.3898), abs=0.015)
    assert bootstrap_interval([0.5] * 9, seed=1) == (0.5, 0.5)
    assert bootstrap_interval([0, 1, 1], seed=4) == bootstrap_interval([0, 1, 1], seed=4)


@pytest.mark.parametrize(
    ("interval", "p_value", "verdict"),
    [
        ((0.1, 0.4), 0.01, "better"),
        ((-0.4, -0.1), 0.01, "worse"),
        ((-0.1, 0.4), 0.01, "cannot_tell"),
        ((0.1, 0.4), 0.125, "cannot_tell"),
    ],
)
def test_something_is_said_only_where_both_agree(interval, p_value, verdict):
    """The bootstrap alone is too sure of few examples."""
    assert verdict_of(interval, p_value) == verdict


def test_equal_models_are_not_told_apart():
    """Base and tuned answer the same: no difference, no verdict."""
    found = scores_of([case("a", base="a", tuned="a")] * 30, seed=1).headline
    assert (found.difference, found.interval, found.p_value) == (0, (0, 0), 1)
    assert found.verdict == "cannot_tell"
