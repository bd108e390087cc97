"""What `"auto"` means: a job's hyperparameters as numbers, and why these. Pure.

OpenAI has not published its rules; these keep the shape of what was seen there (10 examples train
for 10 epochs) and take their numbers from later literature.
"""

import math
from dataclasses import dataclass
from typing import Final

from schemas.fine_tuning import Hyperparameters

_EPOCHS: Final = 3
_FEW_EXAMPLES: Final = 100
"""Seen in all epochs together; less than this is trained for more epochs."""
_MANY_EXAMPLES: Final = 25_000
_MAX_EPOCHS: Final = 25

_STEPS_AN_EPOCH: Final = 40
_MAX_BATCH: Final = 8
_LARGE_FILE: Final = 4_000
"""Examples from which a batch is a share of the file: 0.2 %, as in OpenAI's first fine-tuning API."""
_LARGE_FILE_SHARE: Final = 0.002
_MAX_LARGE_FILE_BATCH: Final = 32
"""LoRA loses more to large batches than full fine-tuning does ("LoRA Without Regret", 2025)."""

_FULL_RATE: Final = 5e-5
_LORA_FACTOR: Final = 10
"""How much higher LoRA's best rate is than full fine-tuning's."""
_REFERENCE_WIDTH: Final = 2_000
_WIDTH_EXPONENTS: Final = {"llama": 0.781, "mistral": 0.781, "qwen": 0.0775}
"""How fast the best rate falls with the hidden size, by the beginning of the model type: Tinker
cookbook's fit over Llama and Qwen models. Mistral is built like Llama."""
_UNKNOWN_EXPONENT: Final = min(_WIDTH_EXPONENTS.values())


@dataclass(frozen=True, slots=True)
class Resolved:
    """Numbers to train with."""

    n_epochs: int
    batch_size: int
    """Examples in each optimizer step."""
    learning_rate_multiplier: float
    learning_rate: float
    """The peak, already multiplied."""
    reasons: list[str]
    """A sentence for each number that the user did not choose, or not so."""


def resolve(
    asked: Hyperparameters, *, n_examples: int, hidden_size: int, model_type: str
) -> Resolved:
    """Return numbers for what is `"auto"`, and the others as they were asked for.

    Only a batch larger than the file is changed: there is no such batch.

    Args:
        asked: What the user chose.
        n_examples: Of the training file; at least 1.
        hidden_size: Of the base.
        model_type: Of the base, transformers' word.
    """
    reasons: list[str] = []
    n_epochs = asked.n_epochs
    if n_epochs == "auto":
        n_epochs, reason = _auto_epochs(n_examples)
        reasons.append(reason)
    batch_size = asked.batch_size
    if batch_size == "auto":
        batch_size, reason = _auto_batch(n_examples)
        reasons.append(reason)
    elif batch_size > n_examples:
        reasons.append(f"A batch of {batch_size} is more than the {n_examples} examples there are.")
        batch_size = n_examples
    multiplier = asked.learning_rate_multiplier
    multiplier = 1.0 if multiplier == "auto" else multiplier
    rate = _base_rate(hidden_size, model_type) * math.sqrt(batch_size)
    reasons.append(
        f"The learning rate {rate:.1e}, times {multiplier:g}, is LoRA's for a {model_type} model "
        f"{hidden_size} wide and this batch."
    )
    return Resolved(n_epochs, batch_size, multiplier, multiplier * rate, reasons)


def count_steps(n_examples: int, *, n_epochs: int, batch_size: int) -> int:
    """Return how many optimizer steps a job takes; an epoch's last batch may be smaller."""
    return n_epochs * math.ceil(n_examples / batch_size)


def _auto_epochs(n_examples: int) -> tuple[int, str]:
    if _EPOCHS * n_examples < _FEW_EXAMPLES:
        n_epochs = min(_MAX_EPOCHS, max(_EPOCHS, _FEW_EXAMPLES // n_examples))
        return n_epochs, f"{n_epochs} epochs, because {n_examples} examples are few."
    if _EPOCHS * n_examples > _MANY_EXAMPLES:
        n_epochs = max(1, _MANY_EXAMPLES // n_examples)
        unit = "epoch" if n_epochs == 1 else "epochs"
        return n_epochs, f"{n_epochs} {unit}, because {n_examples} examples are many."
    return _EPOCHS, f"{_EPOCHS} epochs, as for any file that is neither small nor large."


def _auto_batch(n_examples: int) -> tuple[int, str]:
    if n_examples > _LARGE_FILE:
        batch = min(_MAX_LARGE_FILE_BATCH, math.ceil(_LARGE_FILE_SHARE * n_examples))
        return batch, f"Batches of {batch}, because the file is large."
    batch = max(1, min(_MAX_BATCH, n_examples // _STEPS_AN_EPOCH))
    return batch, f"Batches of {batch}, so that an epoch has enough steps."


def _base_rate(hidden_size: int, model_type: str) -> float:
    """Return the peak learning rate for a batch of one."""
    exponents = (
        exponent for family, exponent in _WIDTH_EXPONENTS.items() if model_type.startswith(family)
    )
    exponent = next(exponents, _UNKNOWN_EXPONENT)
    return float(_FULL_RATE * _LORA_FACTOR * (_REFERENCE_WIDTH / hidden_size) ** exponent)
