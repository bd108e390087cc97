"""Which modules of a loaded model the kernels can stand in for, and whether they then compute the same.

Models are known by the names that transformers gives their parts, and not believed: what is
found is tried on this very model against its own modules.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType
from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from jobs.training.kernels.head import Head
from jobs.training.kernels.lora import Joined, LoraLinear, lay_together, project
from jobs.training.kernels.mlp import GatedMlp, apply_mlp, find_activation
from jobs.training.kernels.norm import RmsNorm, apply_norm
from jobs.training.kernels.rotation import rotate
from jobs.training.recomputing import decoder_layers

logger = logging.getLogger(__name__)

_ATTENTION_INPUTS: Final = ("q_proj", "k_proj", "v_proj")
_GATE_UP: Final = ("gate_proj", "up_proj")
_JOINED: Final = (_ATTENTION_INPUTS, _GATE_UP)
"""Layers that read the same input."""
_LAYER_PARTS: Final = {"input_layernorm", "self_attn", "post_attention_layernorm", "mlp"}
"""Of a decoder layer that adds to its input first what attention makes of it, then what the MLP makes of that."""
_ROTATION: Final = "apply_rotary_pos_emb"
"""The function of transformers' model files that attention modules call."""
_LOGITS_WITHIN: Final = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.01}
_GRADIENTS_WITHIN: Final = {torch.float32: 0.01, torch.bfloat16: 0.5, torch.float16: 0.1}
"""Relative distances, of gradients that of the furthest A or B. Rounding to bfloat16 gave 0.02 and
0.2 on SmolLM2-135M, 5e-6 in float32; a kernel that computes something else gives 1 and more."""

Adapted = Mapping[nn.Module, LoraLinear]
"""The modules that hold an adapter, and what they compute with."""
Forward = Callable[..., object]
Find = Callable[[nn.Module, Adapted], dict[nn.Module, Forward]]
_Found = tuple[dict[nn.Module, Forward], list[nn.Module]]
"""Forward functions, and the layers with an adapter that they take along."""


class Kernels:
    """Forward functions that stand in for those of some modules.

    Args:
        forwards: By module.
    """

    def __init__(self, forwards: Mapping[nn.Module, Forward]) -> None:
        self._forwards = dict(forwards)
        self._before = {module: vars(module).get("forward") for module in forwards}
        self._are_in = False

    def __len__(self) -> int:
        return len(self._forwards)

    @property
    def are_whole(self) -> bool:
        """Whether what comes into attention is computed by them, adapters and all: then the rest is too."""
        return any(isinstance(forward, _SharedOutput) for forward in self._forwards.values())

    def put_in(self) -> None:
        """Let the modules compute with the kernels. Safe to repeat."""
        for module, forward in self._forwards.items():
            module.forward = forward
        self._are_in = True

    def take_out(self) -> None:
        """Let the modules compute as they were made to. Safe to repeat."""
        if self._are_in:
            # As they are by now: where memory is short, a layer's has been wrapped since.
            self._forwards = {module: module.forward for module in self._forwards}
        for module, forward in self._before.items():
            if forward is None:
                vars(module).pop("forward", None)
            else:
                module.forward = forward
        self._are_in = False

    def forget(self) -> None:
        """Let go of what a pass left behind that broke off: with it goes all that it has kept for autograd."""
        for forward in self._forwards.values():
            if isinstance(forward, _SharedOutput):
                forward.shared.forget()

    @contextmanager
    def out(self) -> Iterator[None]:
        """Take the kernels out for a time."""
        were_in = self._are_in
        self.take_out()
        try:
            yield
        finally:
            if were_in:
                self.put_in()


class Trusted(NamedTuple):
    """What was tried on a model and computes the same."""

    find: Find
    """Finds the kernels for its modules, whichever of its layers have an adapter."""
    head: Head | None
    """Where it can be left out."""


def try_kernels(network: PreTrainedModel, adapted: Adapted, run: Callable[[], Tensor]) -> Trusted:
    """Find out which kernels compute the same; leave the network as it was.

    Args:
        network: Holds the modules. What of it trains are adapters.
        adapted: Of its layers, those with an adapter that a kernel understands.
        run: A small forward pass of the network, which returns logits.
    """
    learns = [parameter for parameter in network.parameters() if parameter.requires_grad]
    with _acting(learns):
        compute = partial(_logits_and_gradients, run, learns)
        expected = compute()
        for find in (find_all, find_parts, find_linear):
            with_kernels = partial(_with_kernels, find, network, adapted, compute)
            if _agrees(expected, with_kernels, name=find.__name__):
                return Trusted(find, _find_head(network, run))
    return Trusted(find_none, _find_head(network, run))


def lay_out(network: nn.Module) -> None:
    """Let the frozen weights that the kernels multiply at once lie together.

    Done before a process that holds the base is forked for a job, the job's process does not hold
    a copy of its own.
    """
    for module in network.modules():
        for names in _JOINED:
            children = [getattr(module, name, None) for name in names]
            weights = [child.weight for child in children if isinstance(child, nn.Linear)]
            is_like = len({(weight.shape[1], weight.dtype) for weight in weights}) == 1
            if len(weights) == len(names) and is_like:
                lay_together(weights)


def _find_head(network: PreTrainedModel, run: Callable[[], Tensor]) -> Head | None:
    """Return the layer that makes logits, where nothing is done to them afterwards; else None."""
    layer = network.get_output_embeddings()
    if type(layer) is not nn.Linear:
        return None
    head = Head.of(layer)
    with torch.no_grad():
        logits = run()
        with head.left_out():
            hidden = run()
        is_all = hidden.shape[-1] == layer.in_features and _distance(layer(hidden), logits) < 1e-3
    logger.info("head tried: fits=%s", is_all)
    return head if is_all else None


def find_all(network: nn.Module, adapted: Adapted) -> dict[nn.Module, Forward]:
    """Return what each kernel that there is can stand in for."""
    return _last_layer(network) | find_parts(network, adapted)


def find_parts(network: nn.Module, adapted: Adapted) -> dict[nn.Module, Forward]:
    """Return what kernels can stand in for within layers."""
    forwards: dict[nn.Module, Forward] = {}
    by_themselves = dict(adapted)
    for module in network.modules():
        forward = _norm(module) or _rotating(module)
        if forward is not None:
            forwards[module] = forward
        for find in (_mlp, _attention_inputs):
            found, used = find(module, adapted)
            forwards |= found
            for layer in used:
                del by_themselves[layer]
    return forwards | find_linear(network, by_themselves)


def find_linear(_network: nn.Module, adapted: Adapted) -> dict[nn.Module, Forward]:
    """Return the linear layers with an adapter, each by itself."""
    return {module: _linear(layer) for module, layer in adapted.items()}


def find_none(_network: nn.Module, _adapted: Adapted) -> dict[nn.Module, Forward]:
    """Return nothing: each module computes as it was made to."""
    return {}


def _linear(layer: LoraLinear) -> Forward:
    joined = Joined.of([layer])
    return lambda x: project(x, joined)[0]


def _mlp(module: nn.Module, adapted: Adapted) -> _Found:
    children = _children(module, adapted, *_GATE_UP, "down_proj")
    children = children or _children(module, adapted, "gate_up_proj", "down_proj")
    act = getattr(module, "act_fn", getattr(module, "activation_fn", None))
    activation = find_activation(act) if children and callable(act) else None
    if activation is None:
        return {}, []
    *gate_up, down = (adapted[child] for child in children)
    mlp = GatedMlp(Joined.of(gate_up), Joined.of([down]), activation)
    return {module: lambda x: apply_mlp(x, mlp)}, children


def _attention_inputs(module: nn.Module, adapted: Adapted) -> _Found:
    children = _children(module, adapted, *_ATTENTION_INPUTS)
    if not children:
        return {}, []
    shared = _SharedInput(Joined.of([adapted[child] for child in children]))
    return {child: _SharedOutput(shared, place) for place, child in enumerate(children)}, children


def _children(module: nn.Module, adapted: Adapted, *names: str) -> list[nn.Module]:
    """Return the children of these names, where each is there and has an adapter; else none."""
    children = [getattr(module, name, None) for name in names]
    found = [child for child in children if child in adapted]
    return found if len(found) == len(names) else []


def _norm(module: nn.Module) -> Forward | None:
    if not type(module).__name__.endswith("RMSNorm"):
        return None
    names = [name for name, _ in module.named_parameters()]
    eps = getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if names != ["weight"] or eps is None:
        return None
    weight = module.weight.detach()
    probe = torch.linspace(-3, 2, len(weight), dtype=weight.dtype, device=weight.device)
    for is_offset in (False, True):
        norm = RmsNorm(weight, float(eps), is_offset)
        if torch.equal(apply_norm(probe, norm), module(probe)):
            return lambda x: apply_norm(x, norm)
    return None


def _last_layer(network: nn.Module) -> dict[nn.Module, Forward]:
    """Return the last decoder layer's forward function, which goes on only where something is asked.

    After its attention no place sees another, and nobody looks at the others.
    """
    layer = next(reversed(decoder_layers(network)), None)
    if layer is None or {name for name, _ in layer.named_children()} != _LAYER_PARTS:
        return {}
    own = layer.forward

    def forward(hidden: Tensor, **how: object) -> Tensor:
        asked = getattr(how.get("segments"), "asked", None)
        if asked is None:
            everywhere: Tensor = own(hidden, **how)
            return everywhere
        attended, _ = layer.self_attn(hidden_states=layer.input_layernorm(hidden), **how)
        there = hidden.index_select(1, asked) + attended.index_select(1, asked)
        there = there + layer.mlp(layer.post_attention_layernorm(there))
        return torch.zeros_like(hidden).index_copy(1, asked, there)

    return {layer: forward}


def _rotating(module: nn.Module) -> Forward | None:
    """Return the module's own forward function, in which the rotation is ours."""
    forward = type(module).forward
    if not isinstance(forward, FunctionType) or _ROTATION not in forward.__code__.co_names:
        return None
    own = forward.__globals__.get(_ROTATION)
    if own is None or not _is_rotation(own, getattr(module, "head_dim", 0)):
        return None

    def rotate_both(q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return rotate(q, cos, sin), rotate(k, cos, sin)

    names = {**forward.__globals__, _ROTATION: rotate_both}
    ours = FunctionType(
        forward.__code__, names, forward.__name__, forward.__defaults__, forward.__closure__
    )
    ours.__kwdefaults__ = forward.__kwdefaults__
    return MethodType(ours, module)


def _is_rotation(own: Callable[..., tuple[Tensor, Tensor]], head_size: int) -> bool:
    if not head_size or head_size % 2:
        return False
    x = torch.linspace(-3, 2, 6 * head_size).view(1, 2, 3, head_size)
    angles = torch.linspace(0, 1, 3 * head_size // 2).view(1, 3, -1).repeat(1, 1, 2)
    theirs, _ = own(x, x, angles.cos(), angles.sin())
    is_same: bool = torch.equal(theirs, rotate(x, angles.cos(), angles.sin()))
    return is_same


class _SharedInput:
    """Layers that are called one after another with the same tensor: the first call computes all."""

    def __init__(self, joined: Joined) -> None:
        self._joined = joined
        self._input: Tensor | None = None
        self._outputs: tuple[Tensor, ...] = ()

    def output(self, x: Tensor, place: int) -> Tensor:
        """Return what the layer at this place makes of x."""
        if x is not self._input:
            self._input, self._outputs = x, project(x, self._joined)
        output = self._outputs[place]
        if place == len(self._joined.layers) - 1:
            self.forget()  # they live no longer than in plain modules
        return output

    def forget(self) -> None:
        """Hold nothing."""
        self._input, self._outputs = None, ()


@dataclass(frozen=True)
class _SharedOutput:
    """The forward function of one of them."""

    shared: _SharedInput
    place: int

    def __call__(self, x: Tensor) -> Tensor:
        return self.shared.output(x, self.place)


@contextmanager
def _acting(learns: list[nn.Parameter]) -> Iterator[None]:
    """Give adapters random numbers for a time: a fresh B is zero, and shows nothing."""
    kept = [parameter.data for parameter in learns]
    generator = torch.Generator().manual_seed(0)
    for parameter in learns:
        noise = torch.randn(parameter.shape, generator=generator) / parameter.shape[-1] ** 0.5
        parameter.data = (0.3 * noise).to(parameter.data)
    try:
        yield
    finally:
        for parameter, data in zip(learns, kept, strict=True):
            parameter.data = data


def _logits_and_gradients(run: Callable[[], Tensor], learns: list[nn.Parameter]) -> list[Tensor]:
    with torch.enable_grad():
        logits = run()
        loss = logits.float().logsumexp(-1).sum()
        gradients = torch.autograd.grad(loss, learns, allow_unused=True, materialize_grads=True)
    return [logits.detach(), *gradients]


def _with_kernels(
    find: Find, network: PreTrainedModel, adapted: Adapted, compute: Callable[[], list[Tensor]]
) -> list[Tensor]:
    kernels = Kernels(find(network, adapted))
    kernels.put_in()
    try:
        return compute()
    finally:
        kernels.take_out()


def _agrees(expected: list[Tensor], compute: Callable[[], list[Tensor]], *, name: str) -> bool:
    try:
        computed = compute()
    except Exception as exc:  # noqa: BLE001 - whatever it is: the modules themselves can do without
        logger.info("kernels do not fit: kernels=%s why=%r", name, exc)
        return False
    of_logits, *of_gradients = map(_distance, computed, expected)
    furthest = max(of_gradients, default=0.0)
    logger.info("kernels tried: kernels=%s logits=%.2g gradient=%.2g", name, of_logits, furthest)
    dtype = expected[0].dtype
    return of_logits < _LOGITS_WITHIN[dtype] and furthest < _GRADIENTS_WITHIN[dtype]


def _distance(ours: Tensor, theirs: Tensor) -> float:
    ours, theirs = ours.float(), theirs.float()
    return float((ours - theirs).norm() / theirs.norm().clamp(min=1e-30))
