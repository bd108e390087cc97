"""What `"auto"` becomes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.hyperparameters import count_steps, resolve
from schemas.fine_tuning import Hyperparameters

AUTO = Hyperparameters()


def resolved(n_examples, asked=AUTO, hidden_size=576, model_type="llama"):
    return resolve(asked, n_examples=n_examples, hidden_size=hidden_size, model_type=model_type)


@pytest.mark.parametrize(
    ("n_examples", "n_epochs"),
    [
        (1, 25),
        (4, 25),
        (10, 10),
        (20, 5),
        (33, 3),
        (34, 3),
        (400, 3),
        (8_333, 3),
        (8_334, 2),
        (12_501, 1),
        (100_000, 1),
    ],
)
def test_epochs(n_examples, n_epochs):
    """Small files train for more epochs, up to 25, and large ones for fewer, down to one."""
    assert resolved(n_examples).n_epochs == n_epochs


@pytest.mark.parametrize(
    ("n_examples", "batch_size"),
    [
        (1, 1),
        (10, 1),
        (79, 1),
        (80, 2),
        (200, 5),
        (320, 8),
        (4_000, 8),
        (4_001, 9),
        (10_000, 20),
        (16_000, 32),
        (1_000_000, 32),
    ],
)
def test_batch_size(n_examples, batch_size):
    """An epoch keeps forty steps, up to a batch of 8; above 4,000 examples a batch is 0.2 %, up to 32."""
    assert resolved(n_examples).batch_size == batch_size


@pytest.mark.parametrize(
    ("hidden_size", "model_type", "rate"),
    [
        (192, "llama", 3.1e-3),
        (576, "llama", 1.3e-3),
        (2_000, "llama", 5e-4),
        (4_096, "mistral", 2.9e-4),
        (1_024, "qwen3", 5.3e-4),
        (1_024, "qwen2", 5.3e-4),
        (1_024, "something_new", 5.3e-4),
    ],
)
def test_learning_rate(hidden_size, model_type, rate):
    """The rate falls with the width of the model, by the exponent that was fitted for its family."""
    found = resolved(10, hidden_size=hidden_size, model_type=model_type).learning_rate
    assert found == pytest.approx(rate, rel=0.02)


def test_rate_grows_with_batch():
    """The learning rate follows the square root of the batch size."""
    one = resolved(400, Hyperparameters(batch_size=1)).learning_rate
    assert resolved(400).learning_rate == pytest.approx(one * math.sqrt(8))


def test_multiplier():
    """A learning rate multiplier multiplies, and "auto" is shown as one."""
    assert resolved(50).learning_rate_multiplier == 1.0
    twice = resolved(50, Hyperparameters(learning_rate_multiplier=2.0))
    assert twice.learning_rate_multiplier == 2.0
    assert twice.learning_rate == pytest.approx(2 * resolved(50).learning_rate)


def test_asked_for_is_kept():
    """What the user chose is used as it is, and is given no reason but the learning rate's."""
    asked = Hyperparameters(n_epochs=7, batch_size=3, learning_rate_multiplier=0.5)
    found = resolved(1_000, asked)
    assert (found.n_epochs, found.batch_size, found.learning_rate_multiplier) == (7, 3, 0.5)
    assert len(found.reasons) == 1


def test_batch_is_at_most_the_file():
    """A batch larger than the file becomes the file, and the user is told."""
    found = resolved(12, Hyperparameters(batch_size=64))
    assert found.batch_size == 12
    assert "A batch of 64 is more than the 12 examples there are." in found.reasons


def test_ten_examples():
    """The ten examples of OpenAI's guide train as they did there: ten epochs of one example a step."""
    found = resolved(10)
    assert (found.n_epochs, found.batch_size, found.learning_rate_multiplier) == (10, 1, 1.0)
    assert count_steps(10, n_epochs=found.n_epochs, batch_size=found.batch_size) == 100
    assert found.reasons[0] == "10 epochs, because 10 examples are few."


@given(st.integers(1, 10**8), st.integers(1, 10**5), st.sampled_from(["llama", "qwen3", "x"]))
def test_always_usable(n_examples, hidden_size, model_type):
    """Whatever the file and the base, there is an epoch, a batch within the file and a positive rate."""
    found = resolved(n_examples, hidden_size=hidden_size, model_type=model_type)
    assert 1 <= found.n_epochs <= 25
    assert 1 <= found.batch_size <= min(n_examples, 32)
    assert 0 < found.learning_rate < math.inf


def test_last_batch_counts():
    """A step is taken for what remains of an epoch."""
    assert count_steps(10, n_epochs=2, batch_size=4) == 6
