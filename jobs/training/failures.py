"""Why training cannot go on, in words for the user: one table from foreign errors to ours."""

import errno
from typing import Final

import torch
from torch import distributed

from schemas.errors import JobFailure
from schemas.training import DIVERGED, TrainingFailed

# What torch's CPU allocator, C++ and oneDNN say when there is no memory; they have no class of their own.
_CPU_ALLOCATOR_WORDS: Final = (
    "can't allocate memory",
    "not enough memory",
    "Cannot allocate memory",
    "bad_alloc",
    "could not create a memory object",
    _NO_PRIMITIVE := "could not create a primitive",
    "could not execute a primitive",
)

_LOST_GROUP_WORDS: Final = ("/gloo/", "Connection closed by peer", "Connection reset by peer")


def base_model_unusable(why: str) -> JobFailure:
    """Return the failure for a base that cannot be loaded or does not fit together."""
    return JobFailure(f"The base model cannot be used: {why}", code="base_model_unusable")


def diverged(step: int) -> JobFailure:
    """Return the failure for a loss or gradient that is no number any more."""
    return JobFailure(
        f"The loss is not a finite number any more at step {step}. Try a smaller "
        "learning_rate_multiplier, and look for examples with unusual text.",
        code=DIVERGED,
    )


def ran_away(step: int, *, start: float, now: float | None, is_guessing: bool) -> JobFailure:
    """Return the failure for a model that training has made much worse.

    Args:
        step: The last that was taken.
        start: Loss of a few training examples before training, in nats.
        now: Of the same after that step; None where it is no finite number.
        is_guessing: Whether that is the loss of finding all tokens equally likely.
    """
    worse = "is no finite number any more" if now is None else f"is {now:.2f}"
    why = ", as if it only guessed" if is_guessing else ""
    return JobFailure(
        f"Training ruined the model: at step {step} its loss on the same training examples "
        f"{worse}{why}; it was {start:.2f} before training. Try a learning_rate_multiplier of a tenth, a "
        "longer warmup_ratio, or a larger batch_size, and look for wrong or contradictory answers.",
        code=DIVERGED,
    )


def out_of_memory(n_tokens: int | None = None) -> JobFailure:
    """Return the failure for too little memory.

    Args:
        n_tokens: Of the one example that did not fit; None where it was the model.
    """
    what = "The base model" if n_tokens is None else f"A single example of {n_tokens:,} tokens"
    advice = (
        "Choose a smaller base model, or give the worker more memory."
        if n_tokens is None
        else "Shorten the longest examples, lower the context length, or choose a smaller base."
    )
    return JobFailure(
        f"{what} does not fit into this worker's memory. {advice}", code="out_of_memory"
    )


def out_of_memory_together(n_tokens: int) -> JobFailure:
    """Return the failure for too little memory on one of the processes that hold a base together."""
    return JobFailure(
        f"One of the processes that train together ran out of memory at {n_tokens:,} tokens. Spread the base "
        "over more GPUs, lower the context length, or choose a smaller base.",
        code="out_of_memory",
    )


def is_out_of_memory(exc: BaseException) -> bool:
    """Return whether `exc` says that an allocation failed, on the accelerator or the CPU."""
    if isinstance(exc, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(exc, RuntimeError) and any(w in str(exc) for w in _CPU_ALLOCATOR_WORDS)


def is_lasting(exc: BaseException) -> bool:
    """Return whether out of memory is what this thread will say from now on, however much is free.

    oneDNN compiles a product when its shape is new, and what could not be allocated once is an error that
    its thread does not forget (https://github.com/uxlfoundation/oneDNN/pull/5907; in torch 2.13).
    """
    return isinstance(exc, RuntimeError) and _NO_PRIMITIVE in str(exc)


def is_lost_group(exc: BaseException) -> bool:
    """Return whether `exc` says that another process of the group is gone, in gloo's or NCCL's words."""
    if isinstance(exc, distributed.DistError):
        return True
    return isinstance(exc, RuntimeError) and any(w in str(exc) for w in _LOST_GROUP_WORDS)


def describe(exc: Exception) -> TrainingFailed:
    """Return what the user is told of an error that ended training.

    The text of an error we do not know stays in the log: it may quote paths or training data.
    """
    match exc:
        case JobFailure():
            return TrainingFailed(code=exc.code, message=exc.message)
        case _ if is_out_of_memory(exc):
            failure = out_of_memory()
            return TrainingFailed(code=failure.code, message=failure.message)
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return TrainingFailed(
                code="no_space_left",
                message="There is no space left on the worker's disk. Free some and start again.",
            )
        case _:
            return TrainingFailed(
                code="training_error",
                message=f"Training stopped with an unexpected {type(exc).__name__}. "
                "The worker's log of this job holds the details.",
            )
