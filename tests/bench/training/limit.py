"""What the hardware allows: how fast this machine multiplies, and how much a LoRA step must multiply."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Self

import torch

from jobs.rendering import Row

_SHAPES = ((2048, 1024, 1024), (2048, 576, 1536), (4096, 2048, 2048))
"""Rows, inputs and outputs of a product: those of small bases, and one that keeps a core busy for long."""


@dataclasses.dataclass(frozen=True)
class Shape:
    """What of a base decides how much is multiplied."""

    layers: int
    hidden: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together; the values' too."""
    inner: int
    """Of the MLP."""
    vocabulary: int

    @classmethod
    def of(cls, base_dir: Path) -> Self:
        """Read it from a Llama-like base's config."""
        config = json.loads((base_dir / "config.json").read_text(encoding="utf-8"))
        head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
        return cls(
            layers=config["num_hidden_layers"],
            hidden=config["hidden_size"],
            queries=config["num_attention_heads"] * head,
            keys=config["num_key_value_heads"] * head,
            inner=config["intermediate_size"],
            vocabulary=config["vocab_size"],
        )

    def flops(self, rows: list[Row], *, rank: int) -> float:
        """Return the floating-point operations that training must do on chats, each run by itself.

        A product with a frozen weight costs two operations a weight and token forwards and two for
        the gradient of its input, which the first layer's queries, keys and values do not need:
        there nothing that trains lies before them. The adapter's own products also need the
        gradients of A and B. Scores of causal attention are half a square, and with their gradient
        (flash attention computes them again) 3.5 times the forward pass. The head is needed where
        a token is learned. What is not a product of matrices is left out.
        """
        h, q, k, m = self.hidden, self.queries, self.keys, self.inner
        attention_in = [(h, q), (h, k), (h, k)]
        products = [*attention_in, (q, h), (h, m), (h, m), (m, h)]
        frozen = 4 * self.layers * sum(i * o for i, o in products)
        frozen -= 2 * sum(i * o for i, o in attention_in)
        adapter = 6 * self.layers * rank * sum(i + o for i, o in products)
        n_tokens = sum(len(row.token_ids) for row in rows)
        squares = sum(len(row.token_ids) ** 2 for row in rows)
        n_trained = sum(sum(row.trained) for row in rows)
        attention = 3.5 * 2 * squares * q * self.layers
        return n_tokens * (frozen + adapter) + attention + n_trained * 4 * self.vocabulary * h


def measure_products(dtype: torch.dtype, *, seconds: float) -> float:
    """Return the operations per CPU-second of products on this thread: the best of a few shapes.

    Args:
        dtype: Of all three matrices.
        seconds: CPU time for each shape.
    """
    found = []
    for rows, inputs, outputs in _SHAPES:
        x, weight = torch.randn(rows, inputs).to(dtype), torch.randn(outputs, inputs).to(dtype)
        torch.nn.functional.linear(x, weight)  # packs and chooses its kernel
        began, n = time.process_time(), 0
        while time.process_time() - began < seconds:
            torch.nn.functional.linear(x, weight)
            n += 1
        found.append(2 * n * rows * inputs * outputs / (time.process_time() - began))
    return max(found)
