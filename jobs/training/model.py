"""The model in training: a frozen base and its LoRA adapter. The only module that knows PEFT."""

import copy
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Final, Self

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import Linear as PeftLinear
from peft.tuners.lora import LoraLayer
from peft.utils import set_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from jobs.training.corpus import Document
from jobs.training.failures import base_model_unusable, is_out_of_memory
from jobs.training.kernels.fitting import Kernels, Trusted, lay_out, try_kernels
from jobs.training.kernels.head import Head, Sums, compare, compare_logits
from jobs.training.kernels.lora import LoraLinear
from jobs.training.layouts import Layout, choose_layout, targets
from schemas.errors import JobFailure
from schemas.training import LoraSpec, TrainingSpec

logger = logging.getLogger(__name__)

WEIGHTS: Final = "adapter_model.safetensors"
CONFIG: Final = "adapter_config.json"
_ADAPTER: Final = "default"  # PEFT's name for the only one
_UNREADABLE: Final = (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError)


@dataclass(frozen=True)
class LoadedBase:
    """A frozen base, ready to be given an adapter: all of a model that does not depend on the job."""

    network: PreTrainedModel
    layout: Layout
    served_dtype: torch.dtype
    """In which the engine will hold base and adapter."""

    @classmethod
    def load(
        cls,
        base_dir: Path,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Load a base and find out how documents are laid out for it.

        Args:
            base_dir: A transformers model directory.
            device: Where to train; None: on the accelerator where there is one.
            dtype: Of its weights; None: the fastest that trains well on the device.

        Raises:
            JobFailure: `base_model_unusable`.
        """
        device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if device.type == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32 for the adapter's products
        network = _load_base(base_dir, dtype or fast_dtype(device)).to(device)
        served_dtype = _served_dtype(base_dir)
        layout = choose_layout(network)
        network.requires_grad_(requires_grad=False)
        lay_out(network)
        return cls(network=network, layout=layout, served_dtype=served_dtype)

    @cached_property
    def trusted(self) -> Trusted:
        """The kernels that compute the same as its modules, tried with an adapter of the usual shape.

        Once for all jobs: not to be asked for while a job's own adapter is in the layers.
        """
        model = TunedModel.wrap(self, get_peft_model(self.network, _new_adapter(LoraSpec())))
        try:
            return model.try_kernels()
        finally:
            model.peft.unload()


@contextmanager
def held_in(network: PreTrainedModel, dtype: torch.dtype) -> Iterator[None]:
    """Hold a base's weights in another dtype for a time."""
    computes_in = network.dtype
    kept = [
        (parameter, parameter.data)
        for parameter in network.parameters()
        if not parameter.requires_grad and parameter.dtype == computes_in
    ]
    for parameter, data in kept:
        parameter.data = data.to(dtype)
    try:
        yield
    finally:
        for parameter, data in kept:
            parameter.data = data


@dataclass(frozen=True)
class TunedModel:
    """A base with an adapter that trains.

    The base stays in evaluation mode, so that training computes what serving will; the adapter's
    own dropout, if any, is on only in `training`.
    """

    peft: PeftModel
    network: PreTrainedModel
    """The same modules, without PEFT's outer shell."""
    layout: Layout
    served_dtype: torch.dtype
    """As `LoadedBase` has it."""
    kernels: Kernels = field(default_factory=lambda: Kernels({}))
    """In place of modules' own forward functions; PEFT's modules keep the adapter all the same."""
    head: Head | None = None
    """Where it can be left out: logits are then made where they are compared, a few at a time."""
    hold: Callable[[PreTrainedModel, torch.dtype], AbstractContextManager[None]] = held_in
    """How its base is held in another dtype for a time."""

    @classmethod
    def load(
        cls,
        spec: TrainingSpec,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Self:
        """Load the spec's base (as `LoadedBase.load` does) and give it the spec's adapter.

        Raises:
            JobFailure: `base_model_unusable` or `init_adapter_unusable`.
        """
        return cls.on(LoadedBase.load(spec.base_dir, device=device, dtype=dtype), spec)

    @classmethod
    def on(cls, base: LoadedBase, spec: TrainingSpec) -> Self:
        """Give a base a new adapter, or the earlier one that the spec names: float32 in any case.

        Args:
            base: Nobody else's from now on: the adapter goes into its layers.
            spec: Its seed makes the new adapter.

        Raises:
            JobFailure: `init_adapter_unusable`.
        """
        trusted = base.trusted  # tried before the job's own adapter is in the layers
        return cls.without_kernels(base, spec).with_kernels(trusted)

    @classmethod
    def without_kernels(cls, base: LoadedBase, spec: TrainingSpec) -> Self:
        """As `on`, computed by the modules themselves: kernels hold on to weights that may be elsewhere."""
        torch.manual_seed(spec.seed)
        if spec.init_adapter_dir is None:
            peft = get_peft_model(base.network, _new_adapter(spec.lora))
        else:
            peft = _with_adapter(base.network, spec.init_adapter_dir, spec.lora.dropout)
        return cls.wrap(base, peft)

    @classmethod
    def wrap(cls, base: LoadedBase, peft: PeftModel) -> Self:
        """Return a base whose layers PEFT has given an adapter."""
        return cls(
            peft=peft.eval(),
            network=base.network,
            layout=base.layout,
            served_dtype=base.served_dtype,
        )

    def try_kernels(self) -> Trusted:
        """Find out which kernels compute what this very model does."""
        documents = _trial_documents(self.network)
        adapted = _plain_lora_linears(self.network)
        return try_kernels(self.network, adapted, lambda: self.logits(documents))

    def with_kernels(self, trusted: Trusted) -> Self:
        """Return the same, computed by kernels where it has an adapter that they understand."""
        kernels = Kernels(trusted.find(self.network, _plain_lora_linears(self.network)))
        kernels.put_in()
        return replace(self, kernels=kernels, head=trusted.head)

    @property
    def device(self) -> torch.device:
        """Where it lies."""
        device: torch.device = self.network.device
        return device

    @property
    def parameters(self) -> dict[str, torch.nn.Parameter]:
        """What trains, by name: float32."""
        return {n: p for n, p in self.peft.named_parameters() if p.requires_grad}

    @property
    def vocabulary_size(self) -> int:
        """Token ids it has an embedding for: those below this."""
        return int(self.network.get_input_embeddings().num_embeddings)

    def logits(self, documents: list[Document]) -> Tensor:
        """Return what it expects at the trained places: (trained tokens, vocabulary)."""
        try:
            return self.layout.logits(self.network, documents)
        except BaseException:
            self.kernels.forget()
            raise

    def compare(self, documents: list[Document], *, label_smoothing: float = 0.0) -> Sums:
        """Hold what it expects at the trained places against what the documents say there."""
        wanted = targets(documents, self.device)
        if self.head is None:
            return compare_logits(self.logits(documents), wanted, label_smoothing=label_smoothing)
        with self.head.left_out():
            hidden = self.logits(documents)
        return compare(hidden, wanted, self.head, label_smoothing=label_smoothing)

    @contextmanager
    def training(self) -> Iterator[None]:
        """Switch the adapter's dropout on."""
        for layer in self._lora_layers:
            layer.lora_dropout.train()
        try:
            yield
        finally:
            for layer in self._lora_layers:
                layer.lora_dropout.eval()
            # A backward pass that runs layers forward again may break off in them too.
            self.kernels.forget()

    @contextmanager
    def base_alone(self) -> Iterator[None]:
        """Take the adapter out of the computation."""
        with self.kernels.out(), self.peft.disable_adapter():
            yield

    @contextmanager
    def as_served(self) -> Iterator[None]:
        """Round weights the way vLLM does, for a time.

        vLLM holds A and B in the model's dtype and multiplies the scale into B
        (`vllm/lora/lora_weights.py`, `optimize`); PEFT computes on with float32, which comes
        closest to vLLM's kernels, whose sums are float32. So do our kernels not: they are out.
        """
        dtype = self.served_dtype
        kept = [(parameter, parameter.data) for parameter in self.parameters.values()]
        for layer in self._lora_layers:
            A, B = layer.lora_A[_ADAPTER].weight, layer.lora_B[_ADAPTER].weight
            scale = layer.scaling[_ADAPTER]
            A.data = A.data.to(dtype).float()
            B.data = (B.data.to(dtype) * scale).float() / scale
        try:
            with self.hold(self.network, dtype), self.kernels.out():
                yield
        finally:
            for parameter, data in kept:
                parameter.data = data

    def save_adapter(self, directory: Path, *, base_name: str) -> None:
        """Write PEFT's two files into an existing directory. The weights are float32."""
        # Of the adapter alone: asking for the base's state would gather it, where it is sharded.
        weights = get_peft_model_state_dict(
            self.peft, state_dict=self.parameters, save_embedding_layers=False
        )
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
        config = copy.copy(self.peft.peft_config[_ADAPTER])
        config.base_model_name_or_path = base_name  # where it lies here is nobody's business
        config.inference_mode = True
        config.target_modules = sorted(config.target_modules)  # a set has no order of its own
        config.save_pretrained(str(directory))

    @cached_property
    def _lora_layers(self) -> list[LoraLayer]:
        return [module for module in self.network.modules() if isinstance(module, LoraLayer)]


def _plain_lora_linears(network: PreTrainedModel) -> dict[torch.nn.Module, LoraLinear]:
    """Return the layers whose adapter does what LoRA's first paper says and no more."""
    return {
        layer: LoraLinear(
            weight=layer.base_layer.weight,
            bias=layer.base_layer.bias,
            A=layer.lora_A[_ADAPTER].weight,
            B=layer.lora_B[_ADAPTER].weight,
            scale=layer.scaling[_ADAPTER],
        )
        for layer in network.modules()
        if type(layer) is PeftLinear and _is_plain(layer)
    }


def _is_plain(layer: PeftLinear) -> bool:
    return (
        type(layer.base_layer) is torch.nn.Linear
        and isinstance(layer.lora_dropout[_ADAPTER], torch.nn.Identity)
        and not layer.lora_variant  # DoRA and its like
        and not layer.lora_bias[_ADAPTER]
        and not layer.fan_in_fan_out
    )


def _trial_documents(network: PreTrainedModel) -> list[Document]:
    vocabulary = network.get_input_embeddings().num_embeddings
    token_ids = (torch.arange(1, 22) * 7919 % vocabulary).int()
    trained = torch.arange(21) % 9 != 0
    return [
        Document(token_ids[:9], trained[:9], n_trained=8),
        Document(token_ids[9:], trained[9:], n_trained=int(trained[9:].sum())),
    ]


def fast_dtype(device: torch.device) -> torch.dtype:
    """Return bfloat16 where the hardware multiplies in it, else float32.

    A CPU without the instructions computes bfloat16 slower than float32; float16 would need its
    losses scaled.
    """
    if device.type == "cuda":
        is_fast = torch.cuda.get_device_capability(device) >= (8, 0)
    else:
        can = torch.cpu.get_capabilities()
        is_fast = bool(can.get("avx512_bf16") or can.get("amx_bf16") or can.get("arm_bf16"))
    return torch.bfloat16 if is_fast else torch.float32


def _load_base(base_dir: Path, dtype: torch.dtype) -> PreTrainedModel:
    try:
        network, loaded = AutoModelForCausalLM.from_pretrained(
            base_dir,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except _UNREADABLE as exc:
        if is_out_of_memory(exc):
            raise
        why = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise base_model_unusable(why.replace(str(base_dir), base_dir.name)) from exc
    # transformers would fill them with random numbers and a warning
    if missing := sorted(loaded["missing_keys"]):
        raise base_model_unusable(
            f"{len(missing)} of its weights are not in its files, the first is {missing[0]}."
        )
    assert isinstance(network, PreTrainedModel)
    return network.eval()


def _served_dtype(base_dir: Path) -> torch.dtype:
    """Return the dtype that vLLM's `--dtype auto` takes: that of the weights; bfloat16 for float32."""
    config = json.loads((base_dir / "config.json").read_text(encoding="utf-8"))
    name = config.get("dtype", config.get("torch_dtype"))
    return torch.float16 if name == "float16" else torch.bfloat16


def _new_adapter(lora: LoraSpec) -> LoraConfig:
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        # PEFT's word for every linear layer but the head
        target_modules="all-linear" if lora.target_modules is None else list(lora.target_modules),
        use_rslora=lora.use_rslora,
        bias="none",
        task_type="CAUSAL_LM",
    )


def _with_adapter(network: PreTrainedModel, adapter_dir: Path, dropout: float) -> PeftModel:
    """Give the base an earlier adapter, to train on."""
    try:
        config = LoraConfig.from_pretrained(str(adapter_dir))
        weights = load_file(adapter_dir / WEIGHTS)
        config.inference_mode = False
        config.lora_dropout = dropout
        config.base_model_name_or_path = None
        peft = get_peft_model(network, config)
        loaded = set_peft_model_state_dict(peft, weights)
    except _UNREADABLE as exc:
        if is_out_of_memory(exc):
            raise
        raise _init_adapter_unusable("it cannot be read, or does not fit this base") from exc
    if loaded.unexpected_keys or any("lora_" in name for name in loaded.missing_keys):
        raise _init_adapter_unusable("its weights are not those of this base's layers")
    return peft


def _init_adapter_unusable(why: str) -> JobFailure:
    return JobFailure(
        f"The model to go on from cannot be trained further: {why}.", code="init_adapter_unusable"
    )
