"""What `"auto"` becomes."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.hyperparameters import TrainingFile, count_steps, resolve
from jobs.lora_layers import layers_of
from schemas.bases import BaseModelInfo
from schemas.fine_tuning import EarlyStopping, Hyperparameters
from schemas.training import LoraSpec, OptimizerSpec

AUTO = Hyperparameters()


def base(hidden_size=576, model_type="llama"):
    return BaseModelInfo(
        name="b",
        directory=NANO_DIRECTORY,
        context_length=512,
        hidden_size=hidden_size,
        model_type=model_type,
        n_parameters=1,
        digest="d",
        created=1,
    )


def resolved(n_examples, asked=AUTO, hidden_size=576, model_type="llama", **more):
    file = TrainingFile(n_examples, n_trained_tokens=more.pop("n_trained_tokens", 0))
    layers = more.pop("layers", {})
    max_rank = more.pop("max_rank", 64)
    found = base(hidden_size, model_type)
    return resolve(asked, file, found, layers=layers, max_rank=max_rank, **more)


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
    """What the user chose is used as it is, and is given no reason."""
    asked = Hyperparameters(n_epochs=7, batch_size=3, learning_rate_multiplier=0.5)
    found = resolved(1_000, asked)
    assert (found.n_epochs, found.batch_size, found.learning_rate_multiplier) == (7, 3, 0.5)
    assert not any("epochs" in reason or "Batches" in reason for reason in found.reasons)


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


def test_defaults():
    """What nobody chose is what recipes agree on, and what the trainer does unasked."""
    found = resolved(100)
    assert found.lora == LoraSpec(rank=16, alpha=32, dropout=0.0, target_modules=None)
    assert found.optimizer == OptimizerSpec()
    assert found.optimizer.model_dump() == {
        "lr_scheduler_type": "linear",
        "warmup_ratio": 0.05,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "label_smoothing_factor": 0.0,
        "loraplus_lr_ratio": 1.0,
    }


@pytest.mark.parametrize(
    ("asked", "alpha", "scale"),
    [
        ({}, 32, 2.0),
        ({"lora_rank": 4}, 8, 2.0),
        ({"lora_rank": 64}, 128, 2.0),
        ({"lora_rank": 64, "lora_alpha": 16}, 16, 0.25),
        ({"use_rslora": True}, 8, 2.0),
        ({"use_rslora": True, "lora_rank": 64}, 8, 1.0),
        ({"use_rslora": True, "lora_alpha": 32}, 32, 8.0),
    ],
)
def test_alpha_follows_rank(asked, alpha, scale):
    """So that an adapter of any rank counts twice, as where the learning rate was fitted."""
    lora = resolved(100, Hyperparameters(**asked)).lora
    assert lora.alpha == alpha
    assert lora.alpha / (lora.rank**0.5 if lora.use_rslora else lora.rank) == scale


def test_wishes_are_kept():
    """Each extension that is asked for is what trains, zero and false too."""
    wishes = {
        "lora_rank": 4,
        "lora_alpha": 4,
        "lora_dropout": 0.1,
        "use_rslora": True,
        "loraplus_lr_ratio": 16.0,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.0,
        "weight_decay": 0.01,
        "max_grad_norm": 0.0,
        "label_smoothing_factor": 0.1,
        "lora_target_modules": ["q_proj"],
    }
    asked = Hyperparameters(**wishes)
    found = resolved(100, asked)
    assert found.in_full(asked).model_dump() == found.shown(asked).model_dump()
    assert found.shown(asked).model_dump() == wishes | {
        "n_epochs": 3, "batch_size": 2, "learning_rate_multiplier": 1.0,
    }  # fmt: skip


def test_what_was_not_asked_for_is_not_shown():
    """A job shows OpenAI's three and the user's own; a dry run everything."""
    asked = Hyperparameters(early_stopping=EarlyStopping(patience=2, min_gain=0.01))
    found = resolved(100, asked)
    assert found.shown(asked).model_dump().keys() == {
        "n_epochs", "batch_size", "learning_rate_multiplier", "early_stopping",
    }  # fmt: skip
    assert found.in_full(asked).lora_target_modules == "all-linear"
    assert len(found.in_full(AUTO).model_dump()) == 3 + 11


@pytest.mark.parametrize(("n_tokens", "is_warned"), [(0, False), (325_632, False), (325_633, True)])
def test_an_adapter_that_is_too_small_is_warned_of(n_tokens, is_warned):
    """It should have a parameter for each token that is learned from, and the rank that would is named."""
    found = resolved(100, n_trained_tokens=n_tokens, layers=layers_of(NANO_DIRECTORY))
    assert found.reasons[-1] == (
        "LoRA of rank 16 and alpha 32 on every linear layer: 325,632 parameters."
    )
    assert [("lora_rank 17" in warning) for warning in found.warnings] == [True] * is_warned


@pytest.mark.parametrize(
    ("rank", "max_rank", "advice"),
    [
        (16, 17, "lora_rank 17 would hold them."),
        (8, 16, "lora_rank 16 comes closest, the highest that this server takes (RETUNE_MAX_LORA_RANK); 17 would"),
        (16, 16, "lora_rank 16 is the highest that this server takes (RETUNE_MAX_LORA_RANK); 17 would hold"),
    ],
)  # fmt: skip
def test_no_rank_is_advised_that_would_be_refused(rank, max_rank, advice):
    """Where the server takes none that is high enough, the warning says so and names its highest."""
    (warning,) = resolved(
        100,
        Hyperparameters(lora_rank=rank),
        n_trained_tokens=325_633,
        layers=layers_of(NANO_DIRECTORY),
        max_rank=max_rank,
    ).warnings
    assert advice in warning


def test_the_rank_that_nobody_chose_is_served():
    """A server of lower rank than the usual one trains with its own highest."""
    found = resolved(100, max_rank=8)
    assert (found.lora.rank, found.lora.alpha) == (8, 16)


def test_fewer_layers_hold_less():
    """What an adapter holds follows from its rank and its layers."""
    asked = Hyperparameters(lora_rank=1, lora_target_modules="attention")
    found = resolved(100, asked, n_trained_tokens=20_000, layers=layers_of(NANO_DIRECTORY))
    assert found.reasons[-1] == (
        "LoRA of rank 1 and alpha 2 on k_proj, o_proj, q_proj, v_proj: 7,680 parameters."
    )
    assert "lora_rank 3 would hold them" in found.warnings[0]


def test_an_adapter_that_is_trained_further_keeps_its_shape():
    """That is said instead of a rank that it may not have."""
    found = resolved(100, n_trained_tokens=10**9, layers=layers_of(NANO_DIRECTORY), goes_on=True)
    assert found.reasons[-1] == "The adapter keeps the rank, alpha and layers that it has."
    assert found.warnings == []


def test_the_schedule_is_told():
    """In words, whoever chose it."""
    asked = Hyperparameters(lr_scheduler_type="constant", max_grad_norm=0.0)
    assert resolved(100, asked).reasons[-2] == (
        "The rate rises over 5% of the steps, then stays; gradients are never cut."
    )
