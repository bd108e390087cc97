"""Graders on a whole server: a real engine holds the model that grades to its schema."""

import pytest

pytestmark = pytest.mark.engine

QUESTION = [{"role": "user", "content": "Is '{{sample.output_text}}' polite?"}]


@pytest.fixture(scope="module")
def graders(server):
    """OpenAI's SDK on a server whose operator turned python graders on, as that of all these tests did."""
    with server.client(timeout=300) as client:
        yield client.fine_tuning.alpha.graders


@pytest.mark.slow
def test_label_model(graders) -> None:
    """A tiny model that knows nothing of grading still answers with one of the labels."""
    label = {
        "type": "label_model", "name": "polite", "model": "retune-nano", "input": QUESTION,
        "labels": ["yes", "no"], "passing_labels": ["yes", "no"],
    }  # fmt: skip
    grader = {"type": "multi", "name": "m", "graders": label, "calculate_output": "polite"}
    answer = graders.run(grader=grader, model_sample="thank you")
    assert answer.reward == 1.0, answer
    assert answer.metadata.sampled_model_name == "retune-nano"
    assert answer.metadata.token_usage > 10


def test_score_model(graders) -> None:
    """The engine takes the schema of a score; an answer that was cut short is a parse error."""
    judge = {
        "type": "score_model", "name": "j", "model": "retune-nano", "input": QUESTION,
        "sampling_params": {"temperature": 0, "max_completions_tokens": 100},
    }  # fmt: skip
    answer = graders.run(grader=judge, model_sample="thank you")
    assert 0.0 <= answer.reward <= 1.0
    errors = answer.metadata.errors
    assert not errors.api_model_grader_server_error, errors
    assert answer.metadata.token_usage > 10


def test_python(graders) -> None:
    """`on` turns programs on, in the process that `retune serve` starts."""
    source = "def grade(sample, item):\n    return float(len(sample['output_text']))\n"
    answer = graders.run(grader={"type": "python", "source": source}, model_sample="four")
    assert answer.reward == 4.0, answer
