"""Whether a file's longest example fits into this machine with a base, and what to tell where it does not."""

from pathlib import Path
from typing import Final

from jobs.memory_estimate import PROCESS_BYTES, Shape
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure

_RANK: Final = 16
_BYTES_EACH: Final = 2
"""Of a number of the base; 4 on a processor without bfloat16, of which the trainer learns."""
_NVIDIA: Final = Path("/proc/driver/nvidia")
"""Is there where trainers use a GPU, whose memory only they ask for."""


def is_for_trainers_alone() -> bool:
    """Tell whether trainers use memory that this process cannot ask about."""
    return _NVIDIA.is_dir()


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
    fixed = (
        PROCESS_BYTES
        + shape.weights_bytes(base.n_parameters, bytes_each=_BYTES_EACH)
        + shape.adapter_bytes(rank=_RANK)
    )
    kept, least = (
        fixed
        + shape.step_bytes(
            n_tokens=longest,
            n_trained=n_trained,
            longest=longest,
            bytes_each=_BYTES_EACH,
            recomputed=recomputed,
        )
        for recomputed in (False, True)
    )
    if least > total:
        raise JobFailure(
            f"The longest example, of {longest:,} tokens, would take about {_gib(least)} with this base, "
            f"and the worker's machine has {_gib(total)}. Shorten the longest examples, or choose a smaller "
            "base.",
            code="out_of_memory",
        )
    if kept > left:
        return (
            f"The longest example, of {longest:,} tokens, takes about {_gib(kept)} of memory with this base, "
            f"and {_gib(left)} are free now. Training will compute intermediate results twice, or fewer "
            "tokens at once; shorter examples are faster."
        )
    return None


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
