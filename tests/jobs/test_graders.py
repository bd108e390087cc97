"""What a grader makes of two texts, of many rewards, and of what it is sent."""

import pytest
from pydantic import ValidationError

from jobs.graders.children import ChildFailed, Children, ChildTooSlow
from jobs.graders.grading import sample_of
from jobs.graders.multi import combine
from jobs.graders.outcome import Outcome
from jobs.graders.similarity_metrics import Metric, similarity
from jobs.graders.string_check import is_match
from jobs.graders.text_similarity import grade as grade_similarity
from schemas.graders import GraderErrors, MultiGrader, TokenUsage

CHECK = {"type": "string_check", "name": "check", "input": "a", "reference": "a", "operation": "eq"}
CAT, CATS = "the cat sat on the mat", "the cats sit on a mat"
USAGE = TokenUsage(prompt_tokens=1, total_tokens=3, completion_tokens=2, cached_tokens=0)


def multi(formula: str, graders: object) -> MultiGrader:
    return MultiGrader.model_validate(
        {"type": "multi", "graders": graders, "calculate_output": formula}
    )


@pytest.mark.parametrize(
    ("operation", "input", "reference", "expected"),
    [
        ("eq", "a", "a", True),
        ("eq", "a", "A", False),
        ("ne", "a", "b", True),
        ("ne", "a", "a", False),
        ("like", "the cat", "cat", True),
        ("like", "cat", "the cat", False),
        ("like", "the Cat", "cat", False),
        ("ilike", "the Cat", "cAT", True),
        ("ilike", "STRASSE", "straße", True),
        ("ilike", "dog", "cat", False),
        ("like", "a.c", "a_c", False),
        ("like", "", "", True),
    ],
)
def test_string_check(operation: str, input: str, reference: str, expected: bool) -> None:
    """`like` asks for the reference within the input, without wildcards; `ilike` without regard to case."""
    assert is_match(input, reference, operation) is expected


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("fuzzy_match", 0.8372),
        ("bleu", 0.1068),
        ("gleu", 0.1667),
        ("meteor", 0.3333),
        ("rouge_1", 0.5),
        ("rouge_2", 0.0),
        ("rouge_3", 0.0),
        ("rouge_4", 0.0),
        ("rouge_5", 0.0),
        ("rouge_l", 0.5),
    ],
)
def test_similarity(metric: Metric, expected: float) -> None:
    """Each metric gives what its library gives: 1 for the same text, 0 for nothing in common, this between."""
    assert similarity(metric, CATS, CAT) == pytest.approx(expected, abs=1e-4)
    assert similarity(metric, CAT, CAT) == pytest.approx(1.0, abs=0.01)
    assert similarity(metric, "", CAT) == 0.0
    assert similarity(metric, CAT, "") == 0.0
    assert similarity(metric, "vwx", "abc") == 0.0


def test_meteor_matches_stems() -> None:
    """METEOR takes words of one stem for the same, and has no synonyms."""
    assert similarity("meteor", "running", "run") == similarity("meteor", "run", "run")
    assert similarity("meteor", "car", "automobile") == 0.0


async def test_similarity_in_its_own_process() -> None:
    """The process gives what the function gives."""
    outcome = await grade_similarity(Children(), metric="rouge_l", input=CATS, reference=CAT)
    assert outcome == Outcome(reward=0.5)


async def test_child_that_is_too_slow() -> None:
    """A child is ended when its time is over."""
    with pytest.raises(ChildTooSlow, match=r"longer than 0\.001 seconds"):
        await Children().ask("jobs.graders.similarity_metrics", b"{}", seconds=0.001)


async def test_child_that_fails() -> None:
    """A child that ends without a word is told apart from one that is slow."""
    with pytest.raises(ChildFailed, match="ended without a result"):
        await Children().ask("jobs.graders.similarity_metrics", b"{", seconds=60)


def test_formula_over_a_map() -> None:
    """The keys of a map are the formula's variables."""
    grader = multi("0.75 * one + two / 4", {"one": CHECK, "two": CHECK})
    outcome = combine(grader, {"one": Outcome(reward=1.0), "two": Outcome(reward=0.5)})
    assert outcome.reward == 0.875
    assert outcome.scores == {"one": 1.0, "two": 0.5}


@pytest.mark.parametrize("formula", ["check + 1", "string_check_score + 1"])
@pytest.mark.parametrize("graders", [[CHECK], CHECK])
def test_formula_over_a_list(formula: str, graders: object) -> None:
    """In a list, or alone, a grader goes by its name, or by its type as in OpenAI's example."""
    assert combine(multi(formula, graders), {"check": Outcome(reward=1.0)}).reward == 2.0


def test_type_that_is_there_twice() -> None:
    """A type stands for no grader where it could be any of several."""
    grader = multi("string_check_score", [CHECK, CHECK | {"name": "other"}])
    outcome = combine(grader, {"check": Outcome(), "other": Outcome()})
    assert outcome.errors == GraderErrors(invalid_variable_error=True)


@pytest.mark.parametrize(
    ("formula", "error"),
    [
        ("one +", "formula_parse_error"),
        ("one + three", "invalid_variable_error"),
        ("1 / (one - one)", "other_error"),
    ],
)
def test_formula_that_fails(formula: str, error: str) -> None:
    """The reward is then 0, and the errors say which way it failed."""
    outcome = combine(multi(formula, {"one": CHECK}), {"one": Outcome(reward=1.0)})
    assert outcome.reward == 0.0
    assert outcome.errors == GraderErrors(**{error: True})


def test_what_models_took_is_added_up() -> None:
    """Tokens are summed by model, and every part's errors are seen."""
    failed = Outcome(errors=GraderErrors(model_grader_parse_error=True), usage={"m": USAGE})
    parts = {"one": Outcome(usage={"m": USAGE}, model="m"), "two": failed}
    outcome = combine(multi("one", {"one": CHECK, "two": CHECK}), parts)
    assert outcome.usage["m"].total_tokens == 6
    assert outcome.model == "m"
    assert outcome.errors == GraderErrors(model_grader_parse_error=True)


def test_names_must_differ() -> None:
    """Two graders of one name in a list could not be told apart."""
    with pytest.raises(ValidationError, match="name of its own"):
        multi("check", [CHECK, CHECK])


def test_sample() -> None:
    """`output_json` is there only where the sample is JSON."""
    assert sample_of('{"a": 1}')["output_json"] == {"a": 1}
    assert sample_of("null")["output_json"] is None
    assert "output_json" not in sample_of("{'a': 1}")
    assert sample_of("x")["output_text"] == "x"
