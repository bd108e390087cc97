"""How much memory a training will hold, from a base's `config.json` and the lengths of examples.

Of LoRA on a frozen base in flat batches, as `jobs.training` runs it: what autograd keeps for each
token was counted there (`_kept_by_layer`), what comes on top of it, in pieces that are freed again,
is `_WITH_SLACK`, fitted to peaks of the resident set. `make bench-memory` sets both side by side.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from jobs.chat_template import read_json_object
from jobs.template_messages import JsonObject

PROCESS_BYTES: Final = 500_000_000
"""Of a trainer on a CPU before it has a base: Python, torch, transformers."""
_WITH_SLACK: Final = 0.65
"""Less than one: transformers' and PEFT's modules keep all that is counted, our kernels less."""
_WITHOUT_KERNELS: Final = 2.7
"""Times as much is held, at most, where a base does not take the kernels."""
_BYTES_A_LOGIT: Final = 5
"""In 16 and 32 bits, by chunks; with what is held when other things are gone."""
_WEIGHTS_TWICE: Final = 2
"""On a CPU the kernels keep a packed copy."""
_OPTIMIZED_BYTES: Final = 16
"""Of a parameter of the adapter: itself, its gradient and Adam's two moments, in 32 bits."""
_KEPT_KEYS: Final = 1024
"""Of a token that sees more, no probabilities are kept (`jobs.training.blocks`)."""
_LINEAR_LAYERS: Final = 7
"""That may have an adapter, in each layer of the decoder; one with fewer keeps less, which is not counted."""
_RANK: Final = 16


@dataclass(frozen=True)
class Shape:
    """Of a decoder, as far as memory depends on it."""

    n_layers: int
    hidden_size: int
    intermediate_size: int
    n_heads: int
    head_size: int
    n_key_heads: int
    vocabulary_size: int

    @classmethod
    def read(cls, base_dir: Path) -> Self | None:
        """Read `config.json`; None where it speaks of a decoder in other words.

        Raises:
            OSError, ValueError: It cannot be read.
        """
        config = read_json_object(base_dir / "config.json")
        numbers = [
            _number(config, *names)
            for names in (
                ("num_hidden_layers", "n_layer"),
                ("hidden_size", "n_embd", "n_embed"),
                ("num_attention_heads", "n_head"),
                ("vocab_size",),
            )
        ]
        if not all(numbers):
            return None
        n_layers, hidden_size, n_heads, vocabulary_size = numbers
        return cls(
            n_layers=n_layers,
            hidden_size=hidden_size,
            intermediate_size=_number(config, "intermediate_size", "n_inner") or 4 * hidden_size,
            n_heads=n_heads,
            head_size=_number(config, "head_dim") or hidden_size // n_heads,
            n_key_heads=_number(config, "num_key_value_heads") or n_heads,
            vocabulary_size=vocabulary_size,
        )

    @staticmethod
    def weights_bytes(n_parameters: int, *, bytes_each: int) -> int:
        """Return what the frozen base holds."""
        return _WEIGHTS_TWICE * n_parameters * bytes_each

    @staticmethod
    def adapter_bytes(n_parameters: int) -> int:
        """Return what an adapter holds with gradients and optimizer."""
        return _OPTIMIZED_BYTES * n_parameters

    def step_bytes(
        self,
        *,
        n_tokens: int,
        n_trained: int,
        longest: int,
        bytes_each: int,
        rank: int = _RANK,
        recomputed: bool = False,
        has_kernels: bool = True,
    ) -> int:
        """Return what a forward and backward pass hold at their peak.

        Args:
            n_tokens: That run at once.
            n_trained: Of these, how many carry loss: only there are logits.
            longest: Tokens of the longest row among them.
            bytes_each: Of a number of the base: 2 for bfloat16, 4 for float32.
            rank: Of the adapter.
            recomputed: Layers keep what goes into them, and all else only one after the other.
            has_kernels: Whether `jobs.training.kernels` computes; if not, the estimate errs upwards.
        """
        kept = self._kept_by_layer(longest=longest, bytes_each=bytes_each, rank=rank)
        inputs = self.n_layers * self.hidden_size * bytes_each
        layers = inputs + kept if recomputed else self.n_layers * kept
        logits = n_trained * self.vocabulary_size * _BYTES_A_LOGIT
        slack = _WITH_SLACK if has_kernels else _WITH_SLACK * _WITHOUT_KERNELS
        return round(n_tokens * layers * slack) + logits

    def _kept_by_layer(self, *, longest: int, bytes_each: int, rank: int) -> int:
        """Return what autograd keeps of a token in a layer.

        In 32 bits the input of both norms and of each adapter (q, k, v, o, gate, up; down is wider);
        in the base's own numbers what silu and the product behind it need, states of the
        attention, and its probabilities.
        """
        hidden = 8 * 4 * self.hidden_size
        intermediate = (3 * bytes_each + 4) * self.intermediate_size
        states = (self.n_heads + 2 * self.n_key_heads) * self.head_size
        probabilities = self.n_heads * min(longest, _KEPT_KEYS)
        ranks = _LINEAR_LAYERS * rank * 4
        return hidden + intermediate + bytes_each * (states + probabilities) + ranks


def tokens_that_fit(
    shape: Shape,
    *,
    free: int,
    at_most: int,
    trained_share: float,
    longest: int,
    bytes_each: int,
    rank: int = _RANK,
    recomputed: bool = False,
    has_kernels: bool = True,
) -> int:
    """Return how many tokens to run at once: `at_most`, halved until they fit.

    Args:
        shape: Of the base.
        free: Bytes that a pass may take.
        at_most: More gain nothing.
        trained_share: Of the tokens.
        longest: Tokens of the longest row.
        bytes_each: As `Shape.step_bytes` takes it.
        rank: As well.
        recomputed: As well.
        has_kernels: As well.
    """
    tokens = at_most
    while tokens > 1 and free < shape.step_bytes(
        n_tokens=tokens,
        n_trained=round(tokens * trained_share),
        longest=min(longest, tokens),
        bytes_each=bytes_each,
        rank=rank,
        recomputed=recomputed,
        has_kernels=has_kernels,
    ):
        tokens //= 2
    return tokens


def _number(config: JsonObject, *names: str) -> int:
    text = config.get("text_config")
    places = [config, text] if isinstance(text, dict) else [config]
    values = (place.get(name) for place in places for name in names)
    return next((value for value in values if isinstance(value, int) and value > 0), 0)
