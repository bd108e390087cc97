"""Safetensors files without torch: what tensors they hold, and whether their numbers are numbers.

The format: 8 bytes little-endian length, a JSON header of that length, then the bytes that it points
into (https://huggingface.co/docs/safetensors/index#format).
"""

import json
import os
import struct
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from schemas.base import Schema

_LENGTH: Final = struct.Struct("<Q")
_MAX_HEADER_BYTES: Final = 100_000_000
"""The reference implementation's own limit."""
_ITEM_BYTES: Final = {"F32": 4, "BF16": 2, "F16": 2}
_HUGE_TOP_BYTES: Final = {
    # Sign and upper exponent bits of infinities and not-a-numbers (little-endian: the last byte). In the
    # two wide formats finite numbers over 1.7e38 share that byte; no weight is that large.
    "F32": (0x7F, 0xFF),
    "BF16": (0x7F, 0xFF),
    "F16": (*range(0x7C, 0x80), *range(0xFC, 0x100)),
}


class UnreadableWeights(Exception):
    """A file that is no safetensors file, or ends too early; the message says which."""


class Tensor(Schema):
    """One tensor of a file."""

    dtype: str
    """`F32`, `BF16`, `F16`, …"""
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]
    """Its first byte and the one after its last, counted from the end of the header."""


class Weights(Schema):
    """The header of a safetensors file."""

    path: Path
    tensors: dict[str, Tensor]
    data_start: int
    """Where the header ends, in bytes."""


_TENSORS: Final = TypeAdapter(dict[str, Tensor])


def read_weights(path: Path) -> Weights:
    """Read a file's header; the numbers stay on disk.

    Raises:
        UnreadableWeights: It is no safetensors file, or is cut short.
    """
    with path.open("rb") as file:
        prefix = file.read(_LENGTH.size)
        length = _LENGTH.unpack(prefix)[0] if len(prefix) == _LENGTH.size else 0
        header = file.read(length) if length <= _MAX_HEADER_BYTES else b""
        size = os.fstat(file.fileno()).st_size
    try:
        tensors = _TENSORS.validate_python(
            {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        )
    except (ValueError, AttributeError, ValidationError) as exc:
        raise UnreadableWeights(f"{path.name} is not a safetensors file.") from exc
    weights = Weights(path=path, tensors=tensors, data_start=_LENGTH.size + length)
    if size < weights.data_start + max((t.data_offsets[1] for t in tensors.values()), default=0):
        raise UnreadableWeights(f"{path.name} is cut short.")
    return weights


def has_only_numbers(weights: Weights, name: str) -> bool:
    """Whether no value of a tensor is infinite, not a number, or (wider than fp16) over 1.7e38.

    Raises:
        UnreadableWeights: Its dtype is not one of F32, BF16 and F16.
    """
    tensor = weights.tensors[name]
    if tensor.dtype not in _ITEM_BYTES:
        raise UnreadableWeights(f"{name} has dtype {tensor.dtype}; F32, BF16 or F16 was expected.")
    start, end = tensor.data_offsets
    with weights.path.open("rb") as file:
        file.seek(weights.data_start + start)
        data = file.read(end - start)
    item = _ITEM_BYTES[tensor.dtype]
    top_bytes = data[item - 1 :: item]
    return not any(byte in top_bytes for byte in _HUGE_TOP_BYTES[tensor.dtype])


def linear_layers(base_dir: Path) -> dict[str, tuple[int, int]]:
    """Return a base's linear layers but its head: the module's name, and (out, in) features.

    Args:
        base_dir: A transformers model directory with safetensors weights.

    Raises:
        UnreadableWeights: Its weights cannot be read, or there are none.
    """
    config = json.loads((base_dir / "config.json").read_bytes())
    vocabulary = config.get("vocab_size") or config.get("text_config", {}).get("vocab_size")
    layers = {
        name.removesuffix(".weight"): (tensor.shape[0], tensor.shape[1])
        for path in sorted(base_dir.glob("*.safetensors"))
        for name, tensor in read_weights(path).tensors.items()
        # Embedding and head have a row for each token.
        if name.endswith(".weight") and len(tensor.shape) == 2 and tensor.shape[0] != vocabulary
    }
    if not layers:
        raise UnreadableWeights(f"{base_dir.name} holds no safetensors weights.")
    return layers
