"""Cures two faults of vLLM's LoRA on the CPU. vLLM loads it by itself, as a general plugin.

In vLLM 0.32 the CPU's LoRA operators

1. take a token's slot index -1, "no adapter", for the last slot, so that the base's answers come from
   whichever adapter lies there (vllm-project/vllm#48421);
2. copy one weight matrix for each token, which makes a prompt 5 to 20 times slower than it must be.

Ours skip negative indices and multiply once for each adapter of a step. They take the places of vLLM's only
on a CPU, and only where fault 1 is seen. The only module of ours that knows vLLM from the inside.
"""

import importlib
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Final

import torch
from torch import Tensor

_OPERATORS: Final = "vllm.lora.ops.torch_ops.lora_ops"
_IMPORTERS: Final = ("vllm.lora.ops.torch_ops", "vllm.lora.punica_wrapper.punica_cpu")
"""Modules that hold names of their own for the operators."""


def register() -> None:
    """Put our operators in place, where they are needed. vLLM calls it in each of its processes."""
    platforms = importlib.import_module("vllm.platforms")
    if not platforms.current_platform.is_cpu():
        return
    operators = importlib.import_module(_OPERATORS)
    if not serves_base_with_last_adapter(operators.bgmv_shrink):
        return
    for module in (operators, *map(importlib.import_module, _IMPORTERS)):
        _replace(module)


def serves_base_with_last_adapter(shrink: Callable[..., None]) -> bool:
    """Whether `shrink` computes with the last adapter where the index says that there is none."""
    out = torch.zeros(1, 1)
    shrink(torch.ones(1, 1), torch.ones(1, 1, 1, 1), out, torch.tensor([-1]), 1.0)
    return bool(out.any())


def bgmv_shrink(x: Tensor, a: Tensor, out: Tensor, slots: Tensor, scaling: float = 1.0) -> None:
    """Set `out[:, :rank] = scaling * x @ A[slot].T` for each token; 0 where it has no adapter.

    Args:
        x: (tokens, in), any float dtype.
        a: (slots, 1, rank, in) or (slots, rank, in), the model's dtype.
        out: (tokens, ≥ rank), float32.
        slots: (tokens,), int64; -1: no adapter. A single one counts for all tokens.
        scaling: Of the result.
    """
    rank = a.shape[-2]
    out[:, :rank].zero_()
    for slot, tokens in _by_adapter(slots, x.shape[0]):
        product = x[tokens].to(out.dtype) @ _matrix(a, slot, out.dtype).T
        out[tokens, :rank] = product.mul_(scaling)


def bgmv_expand(x: Tensor, b: Tensor, out: Tensor, slots: Tensor, add_inputs: bool = True) -> None:
    """Add `x @ B[slot].T` to `out` for each token, or replace it; tokens without adapter stay.

    Args:
        x: (tokens, rank), float32.
        b: (slots, 1, features, rank) or (slots, features, rank), the model's dtype.
        out: (tokens, features), padded or cut: the narrower of the two counts.
        slots: (tokens,), int64; -1: no adapter. A single one counts for all tokens.
        add_inputs: False replaces.
    """
    _expand(x, b, out, slots, add=add_inputs)


def bgmv_expand_slice(  # noqa: PLR0917  (vLLM's signature)
    x: Tensor,
    b: Tensor,
    out: Tensor,
    slots: Tensor,
    slice_offset: int,
    slice_size: int,
    add_inputs: bool = True,
) -> None:
    """Do as `bgmv_expand` in the columns `slice_offset:slice_offset + slice_size` of `out`."""
    _expand(x, b, out[:, slice_offset : slice_offset + slice_size], slots, add=add_inputs)


def over_runs(operator: Callable[..., None]) -> Callable[..., None]:
    """Return `operator` as vLLM calls it for prompts, with one slot for each run of tokens.

    Args:
        operator: One of the three above.
    """

    def operate(
        x: Tensor,
        weights: Tensor,
        out: Tensor,
        _starts: Tensor,
        lengths: Tensor,
        slots: Tensor,
        *numbers: float,
    ) -> None:
        # The numbers of runs, of tokens in the longest and of all tokens; then the operator's own.
        operator(x, weights, out, torch.repeat_interleave(slots, lengths), *numbers[3:])

    return operate


_OURS: Final = {
    "bgmv_shrink": bgmv_shrink,
    "bgmv_expand": bgmv_expand,
    "bgmv_expand_slice": bgmv_expand_slice,
    "sgmv_shrink": over_runs(bgmv_shrink),
    "sgmv_expand": over_runs(bgmv_expand),
    "sgmv_expand_slice": over_runs(bgmv_expand_slice),
}


def _replace(module: ModuleType) -> None:
    for name, operator in _OURS.items():
        # A name that some later vLLM has no more should stop it here, not bring the fault back.
        getattr(module, name)
        setattr(module, name, operator)


def _expand(x: Tensor, b: Tensor, out: Tensor, slots: Tensor, *, add: bool) -> None:
    for slot, tokens in _by_adapter(slots, x.shape[0]):
        product = x[tokens].to(out.dtype) @ _matrix(b, slot, out.dtype).T
        width = min(product.shape[1], out.shape[1])
        if add:
            out[tokens, :width] += product[:, :width]
        else:
            out[tokens, :width] = product[:, :width]


def _by_adapter(slots: Tensor, n_tokens: int) -> Iterator[tuple[int, slice | Tensor]]:
    """Yield each adapter's slot with its tokens: a slice where they lie together, which copies nothing."""
    slots = slots.expand(n_tokens) if slots.shape[0] == 1 else slots[:n_tokens]
    runs, lengths = torch.unique_consecutive(slots, return_counts=True)
    values, counts = runs.tolist(), lengths.tolist()
    start = 0
    for slot, count in zip(values, counts, strict=True):
        if slot >= 0 and values.count(slot) == 1:
            yield slot, slice(start, start + count)
        start += count
    for slot in {slot for slot in values if slot >= 0 and values.count(slot) > 1}:
        yield slot, (slots == slot).nonzero().squeeze(1)


def _matrix(stacked: Tensor, slot: int, dtype: torch.dtype) -> Tensor:
    matrix = stacked[slot]
    return (matrix.squeeze(0) if matrix.dim() == 3 else matrix).to(dtype)
