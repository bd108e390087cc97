"""Which linear layers of a base an adapter changes, by the words and names that users have for them."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from schemas.fine_tuning import LoraTargets
from serving.weights import UnreadableWeights, linear_layers

LinearLayers: TypeAlias = Mapping[str, tuple[int, int]]
"""A layer's whole name, such as `model.layers.0.mlp.up_proj`, and its (out, in) features."""

_PARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "attention": ("attn", "attention"),
    "mlp": ("mlp", "feed_forward", "ffn"),
}
"""What the module around a layer is called, in transformers' models."""


def layers_of(base_dir: Path) -> LinearLayers:
    """Return a base's linear layers but its head; none where its weights cannot be read."""
    try:
        return linear_layers(base_dir)
    except (OSError, ValueError, UnreadableWeights):
        return {}


def target_modules(
    asked: LoraTargets | list[str] | None, layers: LinearLayers
) -> tuple[str, ...] | None:
    """Return ends of layers' names that select what was asked for; None: every linear layer.

    The last part of a name is enough, unless it is also another layer's: GPT-2 has two kinds of
    `c_proj`, then called `attn.c_proj` and `mlp.c_proj`.
    """
    if asked is None or asked == "all-linear":
        return None
    if isinstance(asked, list):
        return tuple(sorted(set(asked)))
    wanted = {name for name in layers if _is_part(name, asked)}
    others = {_last(name, 1) for name in layers.keys() - wanted}
    return tuple(sorted({_last(name, 2 if _last(name, 1) in others else 1) for name in wanted}))


def targeted(layers: LinearLayers, modules: Iterable[str] | None) -> LinearLayers:
    """Return the layers that PEFT selects by such ends of names."""
    if modules is None:
        return layers
    ends = tuple(f".{module}" for module in modules)
    return {name: shape for name, shape in layers.items() if f".{name}".endswith(ends)}


def unknown_modules(modules: Iterable[str], layers: LinearLayers) -> list[str]:
    """Return those that select no layer."""
    return [module for module in modules if not targeted(layers, [module])]


def short_names(layers: LinearLayers) -> list[str]:
    """Return the last parts of the layers' names: what users call them."""
    return sorted({_last(name, 1) for name in layers})


def count_parameters(layers: LinearLayers, *, rank: int) -> int:
    """Return the parameters of an adapter: an (rank, in) and an (out, rank) matrix for each layer."""
    return rank * sum(n_out + n_in for n_out, n_in in layers.values())


def _is_part(name: str, part: str) -> bool:
    around = name.rpartition(".")[0].rpartition(".")[2]
    return any(word in around for word in _PARTS[part])


def _last(name: str, parts: int) -> str:
    return ".".join(name.split(".")[-parts:])
