"""What `"auto"` means: a job's hyperparameters as numbers, and why these. Pure.

OpenAI has not published its rules; these keep the shape of what was seen there (10 examples train
for 10 epochs) and take their numbers from later literature.
"""

import math
from dataclasses import dataclass
from typing import Final

from jobs.lora_layers import LinearLayers, count_parameters, target_modules, targeted
from schemas.bases import BaseModelInfo
from schemas.fine_tuning import Hyperparameters
from schemas.training import LoraSpec, OptimizerSpec

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

_RANK: Final = 16
_ALPHA_OF_RANK: Final = 2
"""The rate's rule was fitted where alpha / rank stays the same: then the best rate does too."""
_RSLORA_ALPHA: Final = 8
"""With which rank 16 counts as much under rsLoRA, 8 / sqrt(16), as it does without: 32 / 16."""


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """What is trained on, counted."""

    n_examples: int
    """At least 1; without those that are held out."""
    n_trained_tokens: int = 0
    """That are learned from, in one epoch; 0: not counted."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Numbers to train with."""

    n_epochs: int
    batch_size: int
    """Examples in each optimizer step."""
    learning_rate_multiplier: float
    learning_rate: float
    """The peak, already multiplied."""
    lora: LoraSpec
    optimizer: OptimizerSpec
    reasons: list[str]
    """A sentence for each number that the user did not choose, or not so."""
    warnings: list[str]
    """What may come out worse than the user expects."""

    def shown(self, asked: Hyperparameters) -> Hyperparameters:
        """Return what the job shows from now on: OpenAI's three as numbers, the rest as asked."""
        return asked.model_copy(
            update={
                "n_epochs": self.n_epochs,
                "batch_size": self.batch_size,
                "learning_rate_multiplier": self.learning_rate_multiplier,
            }
        )

    def in_full(self, asked: Hyperparameters) -> Hyperparameters:
        """Return every number, whoever chose it."""
        lora, optimizer = self.lora, self.optimizer
        return self.shown(asked).model_copy(
            update={
                "lora_rank": lora.rank,
                "lora_alpha": lora.alpha,
                "lora_dropout": lora.dropout,
                "lora_target_modules": asked.lora_target_modules or "all-linear",
                "use_rslora": lora.use_rslora,
                **optimizer.model_dump(),
            }
        )


def resolve(
    asked: Hyperparameters,
    file: TrainingFile,
    base: BaseModelInfo,
    *,
    layers: LinearLayers,
    max_rank: int,
    goes_on: bool = False,
) -> Resolved:
    """Return numbers for what is `"auto"`, and the others as they were asked for.

    Only a batch larger than the file is changed: there is no such batch.

    Args:
        asked: What the user chose.
        file: What is trained on.
        base: That learns.
        layers: Its linear layers; empty: not known, and nothing is said of what an adapter holds.
        max_rank: What the engines are started for.
        goes_on: Whether an earlier adapter is trained further; it keeps its shape.
    """
    reasons: list[str] = []
    n_epochs = asked.n_epochs
    if n_epochs == "auto":
        n_epochs, reason = _auto_epochs(file.n_examples)
        reasons.append(reason)
    batch_size = asked.batch_size
    if batch_size == "auto":
        batch_size, reason = _auto_batch(file.n_examples)
        reasons.append(reason)
    elif batch_size > file.n_examples:
        reasons.append(
            f"A batch of {batch_size} is more than the {file.n_examples} examples there are."
        )
        batch_size = file.n_examples
    multiplier = asked.learning_rate_multiplier
    multiplier = 1.0 if multiplier == "auto" else multiplier
    rate = _base_rate(base.hidden_size, base.model_type) * math.sqrt(batch_size)
    reasons.append(
        f"The learning rate {rate:.1e}, times {multiplier:g}, is LoRA's for a {base.model_type} model "
        f"{base.hidden_size} wide and this batch."
    )
    lora, optimizer = resolve_lora(asked, layers, max_rank=max_rank), _optimizer(asked)
    changed = targeted(layers, lora.target_modules)
    reasons += [_schedule_in_words(optimizer), _adapter_in_words(lora, changed, goes_on=goes_on)]
    return Resolved(
        n_epochs=n_epochs,
        batch_size=batch_size,
        learning_rate_multiplier=multiplier,
        learning_rate=multiplier * rate,
        lora=lora,
        optimizer=optimizer,
        reasons=reasons,
        warnings=[]
        if goes_on
        else _too_small(lora, changed, file.n_trained_tokens, max_rank=max_rank),
    )


def resolve_lora(asked: Hyperparameters, layers: LinearLayers, *, max_rank: int) -> LoraSpec:
    """Return the shape of a new adapter; the arguments are those of `resolve`."""
    rank = asked.lora_rank or min(_RANK, max_rank)
    use_rslora = bool(asked.use_rslora)
    alpha = asked.lora_alpha or (_RSLORA_ALPHA if use_rslora else _ALPHA_OF_RANK * rank)
    return LoraSpec(
        rank=rank,
        alpha=alpha,
        dropout=asked.lora_dropout or 0.0,
        target_modules=target_modules(asked.lora_target_modules, layers),
        use_rslora=use_rslora,
    )


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


def _optimizer(asked: Hyperparameters) -> OptimizerSpec:
    wishes = asked.model_dump(include=set(OptimizerSpec.model_fields))
    return OptimizerSpec.model_validate(wishes)


def _schedule_in_words(optimizer: OptimizerSpec) -> str:
    then = {
        "linear": "falls linearly to 0",
        "cosine": "falls to 0 along a cosine",
        "constant": "stays",
    }[optimizer.lr_scheduler_type]
    cut = f"cut to {optimizer.max_grad_norm:g}" if optimizer.max_grad_norm else "never cut"
    return (
        f"The rate rises over {optimizer.warmup_ratio:.0%} of the steps, then {then}; gradients "
        f"are {cut}."
    )


def _adapter_in_words(lora: LoraSpec, changed: LinearLayers, *, goes_on: bool) -> str:
    if goes_on:
        return "The adapter keeps the rank, alpha and layers that it has."
    kind = "Rank-stabilized LoRA" if lora.use_rslora else "LoRA"
    where = ", ".join(lora.target_modules or ["every linear layer"])
    held = f": {count_parameters(changed, rank=lora.rank):,} parameters" if changed else ""
    return f"{kind} of rank {lora.rank} and alpha {lora.alpha} on {where}{held}."


def _too_small(
    lora: LoraSpec, changed: LinearLayers, n_trained_tokens: int, *, max_rank: int
) -> list[str]:
    """Warn where an adapter has fewer parameters than there are tokens to learn.

    From there on LoRA falls behind full fine-tuning ("LoRA Without Regret", 2025: a parameter holds
    about two bits, and a token asks for about one).
    """
    n_parameters = count_parameters(changed, rank=lora.rank)
    if not n_parameters or n_parameters >= n_trained_tokens:
        return []
    enough = math.ceil(n_trained_tokens * lora.rank / n_parameters)
    warning = (
        f"The file has {n_trained_tokens:,} tokens to learn from, the adapter {n_parameters:,} "
        "parameters. With fewer parameters than tokens, LoRA learns less of a file than it could: "
    )
    return [warning + _larger(lora.rank, enough, max_rank=max_rank)]


def _larger(rank: int, enough: int, *, max_rank: int) -> str:
    """Return which rank to ask for: none that would be refused."""
    if enough <= max_rank:
        return f"lora_rank {enough} would hold them."
    limit = (
        f"the highest that this server takes (RETUNE_MAX_LORA_RANK); {enough} would hold them all"
    )
    if rank >= max_rank:
        return f"lora_rank {rank} is {limit}."
    return f"lora_rank {max_rank} comes closest, {limit}."
