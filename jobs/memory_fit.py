"""Whether a file's longest example fits into this machine with a base, and what to tell where it does not."""

from functools import partial
from pathlib import Path
from typing import Final

from jobs.memory_estimate import PROCESS_BYTES, Shape, tokens_that_fit
from schemas.bases import BaseModelInfo
from schemas.dry_run import FileFindings
from schemas.errors import JobFailure

_RANK: Final = 16
_AT_ONCE: Final = 2048
"""Tokens that a trainer on a CPU runs at once, where there is room (`jobs.training.room`)."""
_BFLOAT16: Final = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of a processor that multiplies in it: of x86, and Arm's (`jobs.training.model.fast_dtype`)."""
_WITH_KERNELS: Final = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3_text"}
"""Types of models that the kernels compute whole (`tests/training/test_kernels.py`); of others more is expected."""
_ACCELERATORS: Final = ("proc/driver/nvidia", "dev/dxg", "dev/kfd")
"""One is there where trainers use a GPU, whose memory only they ask for: NVIDIA's driver, any on WSL 2, AMD's."""


def is_for_trainers_alone(root: Path = Path("/")) -> bool:
    """Tell whether trainers use memory that this process cannot ask about.

    Args:
        root: Below which `proc` and `dev` are mounted.
    """
    return any((root / name).exists() for name in _ACCELERATORS)


def expected_bytes(base: BaseModelInfo, findings: FileFindings) -> int | None:
    """Return what a trainer holds at its peak with a file; None where that cannot be told.

    Args:
        base: That is tuned.
        findings: What the training file holds.
    """
    shape = Shape.read(base.directory)
    if shape is None or is_for_trainers_alone() or not findings.tokens:
        return None
    bytes_each = bytes_of_a_number()
    n_tokens = max(findings.longest_example, min(_AT_ONCE, findings.tokens))
    return (
        PROCESS_BYTES
        + shape.weights_bytes(base.n_parameters, bytes_each=bytes_each)
        + shape.adapter_bytes(rank=_RANK)
        + shape.step_bytes(
            n_tokens=n_tokens,
            n_trained=n_tokens * findings.trained_tokens // findings.tokens,
            longest=findings.longest_example,
            bytes_each=bytes_each,
            has_kernels=base.model_type in _WITH_KERNELS,
        )
    )


def warn_of_memory(
    base: BaseModelInfo, *, longest: int, n_trained: int, total: int | None, left: int | None
) -> str | None:
    """Return what the user should know before training; None where all fits.

    Args:
        base: That is tuned.
        longest: Tokens of the longest example.
        n_trained: How many of them carry loss, about.
        total: Bytes of the machine; None: not known.
        left: Of these, free now.

    Raises:
        JobFailure: `out_of_memory`: not even an empty machine would do.
    """
    shape = Shape.read(base.directory)
    if shape is None or total is None or left is None:
        return None
    bytes_each = bytes_of_a_number()
    fixed = (
        PROCESS_BYTES
        + shape.weights_bytes(base.n_parameters, bytes_each=bytes_each)
        + shape.adapter_bytes(rank=_RANK)
    )
    pass_bytes = partial(
        shape.step_bytes,
        n_tokens=longest,
        n_trained=n_trained,
        longest=longest,
        bytes_each=bytes_each,
    )
    # To refuse, be sure; to warn, be careful.
    least = fixed + pass_bytes(recomputed=True, has_kernels=True)
    has_kernels = base.model_type in _WITH_KERNELS
    kept = fixed + pass_bytes(has_kernels=has_kernels)
    if least > total:
        raise JobFailure(
            f"The longest example, of {longest:,} tokens, would take about {_gib(least)} with this base, "
            f"and the worker's machine has {_gib(total)}. Shorten the longest examples, or choose a smaller "
            "base.",
            code="out_of_memory",
        )
    if kept <= left:
        return None
    fitting = tokens_that_fit(
        shape,
        free=left - fixed,
        at_most=longest,
        trained_share=n_trained / longest,
        longest=longest,
        bytes_each=bytes_each,
        recomputed=True,
        has_kernels=has_kernels,
    )
    return (
        f"The longest example, of {longest:,} tokens, takes about {_gib(kept)} of memory with this base, "
        f"and {_gib(left)} are free now. Training will compute intermediate results twice, about "
        f"{fitting:,} tokens at once fit so; shorter examples are faster."
    )


def bytes_of_a_number(root: Path = Path("/")) -> int:
    """Return 2 where trainers on this processor compute in bfloat16, 4 where in float32; 2 where it is not told.

    Args:
        root: Below which `proc` is mounted.
    """
    try:
        words = set((root / "proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return 2
    return 2 if words & _BFLOAT16 else 4


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
