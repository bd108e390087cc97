"""What a job asks of a trainer's memory before it has run, and what to tell where that is too much."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from jobs.hyperparameters import resolve_lora
from jobs.lora_layers import count_parameters, layers_of, targeted
from jobs.memory_estimate import PROCESS_BYTES, Shape, tokens_that_fit
from jobs.memory_left import memory_total
from jobs.store.records import TrainerMemory
from schemas.bases import BaseModelInfo
from schemas.dry_run import FileFindings
from schemas.errors import JobFailure
from schemas.fine_tuning import Hyperparameters

_AT_ONCE: Final = 2048
"""Tokens that a trainer on a CPU runs at once, where there is room (`jobs.training.room`)."""
_BFLOAT16: Final = {"avx512_bf16", "amx_bf16", "bf16"}
"""Flags of a processor that multiplies in it: of x86, and Arm's (`jobs.training.model.fast_dtype`)."""
_WITH_KERNELS: Final = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "gemma3_text"}
"""Types of models that the kernels compute whole (`tests/training/test_kernels.py`); of others more is expected."""
_ACCELERATORS: Final = ("proc/driver/nvidia", "dev/dxg", "dev/kfd")
"""One is there where trainers use a GPU, whose memory only they ask for: NVIDIA's driver, any on WSL 2, AMD's."""
_ADAPTER_WEIGHTS: Final = "adapter_model.safetensors"
_FLOAT32: Final = 4


@dataclass(frozen=True)
class AdapterSize:
    """Of an adapter that is to be trained, as far as memory depends on it."""

    n_parameters: int
    """0 where the base's layers cannot be read."""
    rank: int
    """Of a new one; one that is trained further keeps its own, which counts as the usual here."""

    @classmethod
    def of(
        cls, base: BaseModelInfo, asked: Hyperparameters, *, max_rank: int, earlier: Path | None
    ) -> Self:
        """Return what a job's adapter comes to. Reads files.

        Args:
            base: Gets it.
            asked: Says its rank and layers, if anything does.
            max_rank: As `resolve_lora` takes it.
            earlier: The directory of the adapter that is trained further; None: it is a new one.
        """
        layers = layers_of(base.directory)
        lora = resolve_lora(asked, layers, max_rank=max_rank)
        if earlier is None:
            n_parameters = count_parameters(targeted(layers, lora.target_modules), rank=lora.rank)
        else:
            weights = earlier / _ADAPTER_WEIGHTS
            n_parameters = weights.stat().st_size // _FLOAT32 if weights.is_file() else 0
        return cls(n_parameters, rank=lora.rank)


@dataclass(frozen=True)
class Demand:
    """What a base and an adapter ask of the memory of a trainer on a CPU."""

    base: BaseModelInfo
    shape: Shape
    adapter: AdapterSize
    bytes_each: int
    """Of a number of the base, as the trainer's processor computes."""

    @classmethod
    def of(cls, base: BaseModelInfo, adapter: AdapterSize, *, bytes_each: int) -> Self | None:
        """Return it; None where the base does not say what it is made of. Reads a file."""
        try:
            shape = Shape.read(base.directory)
        except (OSError, ValueError):
            return None
        return None if shape is None else cls(base, shape, adapter, bytes_each)

    @property
    def fixed(self) -> int:
        """Bytes that are held all the time: the process, the base, the adapter and its optimizer."""
        return (
            PROCESS_BYTES
            + self.shape.weights_bytes(self.base.n_parameters, bytes_each=self.bytes_each)
            + self.shape.adapter_bytes(self.adapter.n_parameters)
        )

    def least(self, *, longest: int, n_trained: int) -> int:
        """Return the bytes that the longest example takes alone, with everything saved that can be.

        To be held against what a job is refused for: it errs downwards.
        """
        return self._peak(
            longest, longest=longest, n_trained=n_trained, recomputed=True, has_kernels=True
        )

    def usual(self, n_tokens: int, *, longest: int, n_trained: int) -> int:
        """Return the bytes that so many tokens at once take, with nothing saved. It errs upwards."""
        return self._peak(
            n_tokens,
            longest=longest,
            n_trained=n_trained,
            recomputed=False,
            has_kernels=self._has_kernels,
        )

    def tokens_in(self, free: int, *, longest: int, n_trained: int) -> int:
        """Return how many tokens of the longest example run at once in so many bytes, with layers recomputed."""
        return tokens_that_fit(
            self.shape,
            free=free - self.fixed,
            at_most=longest,
            trained_share=n_trained / longest,
            longest=longest,
            bytes_each=self.bytes_each,
            rank=self.adapter.rank,
            recomputed=True,
            has_kernels=self._has_kernels,
        )

    @property
    def _has_kernels(self) -> bool:
        return self.base.model_type in _WITH_KERNELS

    def _peak(
        self, n_tokens: int, *, longest: int, n_trained: int, recomputed: bool, has_kernels: bool
    ) -> int:
        return self.fixed + self.shape.step_bytes(
            n_tokens=n_tokens,
            n_trained=n_trained,
            longest=longest,
            bytes_each=self.bytes_each,
            rank=self.adapter.rank,
            recomputed=recomputed,
            has_kernels=has_kernels,
        )


def trainer_memory(*, n_processes: int) -> TrainerMemory | None:
    """Return what a trainer on this machine may come to; None where trainers use memory that is not the machine's.

    Args:
        n_processes: That train together: each of them holds the base.
    """
    total = None if is_for_trainers_alone() else memory_total()
    if total is None:
        return None
    return TrainerMemory(total_bytes=total // n_processes, bytes_each=bytes_of_a_number())


def is_for_trainers_alone(root: Path = Path("/")) -> bool:
    """Tell whether trainers use memory that this process cannot ask about.

    Args:
        root: Below which `proc` and `dev` are mounted.
    """
    return any((root / name).exists() for name in _ACCELERATORS)


def expected_bytes(demand: Demand, findings: FileFindings) -> int | None:
    """Return what a trainer holds at its peak with a file; None where that cannot be told.

    Args:
        demand: Of the job.
        findings: What the training file holds.
    """
    if is_for_trainers_alone() or not findings.tokens:
        return None
    n_tokens = max(findings.longest_example, min(_AT_ONCE, findings.tokens))
    n_trained = n_tokens * findings.trained_tokens // findings.tokens
    return demand.usual(n_tokens, longest=findings.longest_example, n_trained=n_trained)


def warn_of_memory(
    demand: Demand, *, longest: int, n_trained: int, total: int, left: int
) -> str | None:
    """Return what the user should know before training; None where all fits.

    Args:
        demand: Of the job.
        longest: Tokens of the longest example.
        n_trained: How many of them carry loss, about.
        total: Bytes that a trainer may come to.
        left: Of the machine's, free now.

    Raises:
        JobFailure: `out_of_memory`: not even an empty machine would do.
    """
    least = demand.least(longest=longest, n_trained=n_trained)
    if least > total:
        raise JobFailure(
            too_long(longest, needed=least, total=total),
            code="out_of_memory",
            param="training_file",
        )
    kept = demand.usual(longest, longest=longest, n_trained=n_trained)
    if kept <= left:
        return None
    fitting = demand.tokens_in(left, longest=longest, n_trained=n_trained)
    return (
        f"The longest example, of {longest:,} tokens, takes about {in_gib(kept)} of memory with this base, "
        f"and {in_gib(left)} are free now. Training will compute intermediate results twice, about "
        f"{fitting:,} tokens at once fit so; shorter examples are faster."
    )


def too_long(longest: int, *, needed: int, total: int) -> str:
    """Return what to tell of an example that fits nowhere.

    Args:
        longest: Its tokens.
        needed: Bytes.
        total: That the largest trainer may come to.
    """
    return (
        f"The longest example, of {longest:,} tokens, would take about {in_gib(needed)} with this base, and "
        f"the largest worker's trainer has {in_gib(total)}. Shorten the longest examples, or choose a smaller "
        "base."
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


def in_gib(n_bytes: int) -> str:
    """Return a number of bytes as people read it."""
    return f"{n_bytes / 2**30:.1f} GiB"
