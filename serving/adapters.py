"""Adapters: whether one may be loaded at all, and which ones each engine has.

vLLM answers 200 to adapters of another base, of other shapes, with misspelt names (which it ignores) and
with numbers that are none (which spoil other answers), so all of that is looked at here first.
"""

import asyncio
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from pydantic import ConfigDict, Field, ValidationError

from schemas.base import Schema
from schemas.errors import ModelServerUnavailable
from serving.vllm import AdapterRejected, Vllm
from serving.weights import (
    UnreadableWeights,
    Weights,
    has_only_numbers,
    linear_layers,
    read_weights,
)

_CONFIG: Final = "adapter_config.json"
_WEIGHTS: Final = "adapter_model.safetensors"
_EXPECTED_FILES: Final = frozenset({_CONFIG, _WEIGHTS, "proof.json", "rendering.json", "README.md"})
_KEY: Final = re.compile(r"base_model\.model\.(?P<layer>.+)\.lora_(?P<half>[AB])\.weight")
LOAD_SECONDS: Final = 30.0


class AdapterFacts(Schema):
    """What an adapter that may be loaded is made of."""

    rank: int
    """The largest of its layers'."""
    alpha: float
    n_layers: int
    """How many linear layers it changes."""
    n_parameters: int
    dtype: str
    """As safetensors writes it, such as `F32`."""


def inspect_adapter(adapter_dir: Path, base_dir: Path, *, max_rank: int) -> AdapterFacts:
    """Check that an adapter fits its base and that vLLM will serve all of it. Reads every byte of it.

    Args:
        adapter_dir: What PEFT wrote.
        base_dir: The base that it is to be served on.
        max_rank: What the engine was started for.

    Raises:
        AdapterRejected: It must not be loaded; the reason names the file or the tensor.
    """
    strangers = sorted({path.name for path in adapter_dir.iterdir()} - _EXPECTED_FILES)
    if strangers:
        raise AdapterRejected(f"its directory holds {strangers[0]}, which no adapter of ours has.")
    config = _read_config(adapter_dir / _CONFIG)
    try:
        weights = read_weights(adapter_dir / _WEIGHTS)
        layers = linear_layers(base_dir)
        ranks = _check_layers(weights, layers)
        _check_ranks(ranks, config, max_rank=max_rank)
        for name in weights.tensors:
            if not has_only_numbers(weights, name):
                raise AdapterRejected(f"{name} holds values that are no finite numbers.")
    except FileNotFoundError as exc:
        raise AdapterRejected(f"{_WEIGHTS} is missing.") from exc
    except UnreadableWeights as exc:
        raise AdapterRejected(str(exc)) from exc
    tensors = weights.tensors.values()
    return AdapterFacts(
        rank=max(ranks.values()),
        alpha=config.lora_alpha,
        n_layers=len(ranks),
        n_parameters=sum(tensor.shape[0] * tensor.shape[1] for tensor in tensors),
        dtype=next(iter(tensors)).dtype,
    )


class Residency:
    """Which adapters are in which engine, so that each is loaded once however many ask for it.

    It remembers what it loaded itself. An engine that restarted has lost it all, as `AdapterMissing` tells:
    `forget`, then `ensure` again.

    Args:
        patience: Seconds that a caller waits for a load.
    """

    def __init__(self, *, patience: float = LOAD_SECONDS) -> None:
        self._patience = patience
        self._loads: dict[str, dict[str, asyncio.Task[None]]] = {}
        """Engine's URL → adapter's name → its load, under way or done."""

    def is_resident(self, vllm: Vllm, name: str) -> bool:
        """Whether `name` was loaded into this engine and is not known to be lost."""
        load = self._loads.get(vllm.url, {}).get(name)
        return load is not None and load.done() and not load.cancelled() and not load.exception()

    async def ensure(self, vllm: Vllm, name: str, path: Path) -> None:
        """Return once the engine answers to `name`; load it where it does not.

        Concurrent callers share one load. A caller that gives up does not stop it for the others. A load that
        failed is tried again by the next caller.

        Args:
            vllm: An engine of the adapter's base.
            name: Internal, one for each adapter for ever.
            path: Its directory.

        Raises:
            AdapterRejected: vLLM refuses it.
            ModelServerUnavailable: vLLM is not there, or did not load it in time.
        """
        if self.is_resident(vllm, name):
            return  # as for nearly every request: no timer, no turn of the loop
        loads = self._loads.setdefault(vllm.url, {})
        load = loads.get(name)
        if load is None or load.done():
            load = asyncio.create_task(vllm.load_adapter(name, path), name=f"load {name}")
            loads[name] = load
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.shield(load)
        except TimeoutError as exc:
            raise ModelServerUnavailable(
                "The model is still being loaded. Please try again.", retry_after=5
            ) from exc

    def forget(self, vllm: Vllm, name: str | None = None) -> None:
        """Take it that the engine lacks an adapter, or, without a name, all: it restarted, or said so."""
        if name is None:
            self._loads.pop(vllm.url, None)
        else:
            self._loads.get(vllm.url, {}).pop(name, None)


class _Config(Schema):
    """`adapter_config.json`, as far as vLLM serves it; all else must be as if it were not there."""

    # PEFT writes dozens of other fields; those that change what an adapter is are the ones below.
    model_config = ConfigDict(frozen=True, extra="ignore")

    peft_type: Literal["LORA"]
    r: int = Field(gt=0)
    lora_alpha: float = Field(gt=0)
    bias: Literal["none"] = "none"
    rank_pattern: Mapping[str, int] = Field(default_factory=dict, max_length=0)
    alpha_pattern: Mapping[str, float] = Field(default_factory=dict, max_length=0)
    use_dora: Literal[False] = False
    use_qalora: Literal[False] = False
    lora_bias: Literal[False] = False
    fan_in_fan_out: Literal[False] = False
    modules_to_save: None = None
    layer_replication: None = None
    trainable_token_indices: None = None
    alora_invocation_tokens: None = None
    use_bdlora: None = None
    init_lora_weights: Literal[True, False, "gaussian", "eva"] = True


def _read_config(path: Path) -> _Config:
    try:
        return _Config.model_validate_json(path.read_bytes())
    except FileNotFoundError as exc:
        raise AdapterRejected(f"{_CONFIG} is missing.") from exc
    except ValidationError as exc:
        error = exc.errors()[0]
        field = ".".join(str(part) for part in error["loc"]) or "the file"
        raise AdapterRejected(f"{_CONFIG}: {field}: {error['msg']}.") from exc


def _check_layers(weights: Weights, layers: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    """Return the rank of each layer of the adapter, once all names and shapes fit the base's."""
    ranks: dict[str, dict[str, int]] = {}
    for name, tensor in weights.tensors.items():
        key = _KEY.fullmatch(name)
        if key is None or key["layer"] not in layers:
            raise AdapterRejected(f"{name} belongs to no linear layer of its base.")
        out_features, in_features = layers[key["layer"]]
        width, rank_first = (in_features, True) if key["half"] == "A" else (out_features, False)
        if len(tensor.shape) != 2 or tensor.shape[1 if rank_first else 0] != width:
            raise AdapterRejected(f"{name} has shape {tensor.shape}; its base has {width} there.")
        ranks.setdefault(key["layer"], {})[key["half"]] = tensor.shape[0 if rank_first else 1]
    for layer, halves in ranks.items():
        if halves.keys() != {"A", "B"} or halves["A"] != halves["B"]:
            raise AdapterRejected(f"{layer} lacks one of its two matrices, or their ranks differ.")
    if not ranks:
        raise AdapterRejected(f"{_WEIGHTS} holds no tensors.")
    return {layer: halves["A"] for layer, halves in ranks.items()}


def _check_ranks(ranks: Mapping[str, int], config: _Config, *, max_rank: int) -> None:
    for layer, rank in ranks.items():
        # vLLM scales by the configuration's rank, whatever the tensors say.
        if rank != config.r:
            raise AdapterRejected(f"{layer} has rank {rank}; {_CONFIG} says {config.r}.")
    if config.r > max_rank:
        raise AdapterRejected(f"its rank {config.r} is over the engine's maximum, {max_rank}.")
