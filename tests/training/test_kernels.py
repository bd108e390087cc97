"""Our autograd nodes against the modules that they stand in for."""

import copy
import gc
import weakref
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import (
    LlamaDecoderLayer,
    LlamaMLP,
    LlamaRMSNorm,
    apply_rotary_pos_emb,
)

from jobs.training.kernels.fitting import lay_out
from jobs.training.kernels.head import Head, compare, compare_logits
from jobs.training.kernels.lora import Joined, LoraLinear, project
from jobs.training.kernels.mlp import ACTIVATIONS, GatedMlp, apply_mlp, find_activation
from jobs.training.kernels.norm import RmsNorm, apply_norm
from jobs.training.kernels.rotation import rotate
from jobs.training.layouts import choose_layout
from jobs.training.model import TunedModel
from jobs.training.recomputing import recompute_layers
from jobs.training.scores import score
from tests.training import networks

N_KERNELS = {
    networks.llama: 2 * (4 + 1 + 2 + 1) + 2,
    networks.qwen2_with_biases: 2 * (4 + 1 + 2 + 1) + 2,
    networks.qwen3: 2 * (4 + 1 + 4 + 1) + 2,
    networks.mistral_with_a_window: 2 * (4 + 1 + 2 + 1) + 2,
    networks.gemma2_with_soft_caps: 2 * (4 + 1 + 4 + 1) + 1,
    networks.gemma3: 2 * (4 + 1 + 6 + 1) + 1,
    networks.phi3: 2 * (2 + 1 + 2 + 1) + 1,
}
"""Modules replaced: in each of 2 layers q, k, v and o, the MLP, norms, rotation; the last norm;
of those whose layers have no other parts, the last layer."""


def lora_linear(outs: int, ins: int, *, bias: bool = False) -> LoraLinear:
    """Return a layer of random numbers, in float64."""

    def frozen(*shape: int) -> nn.Parameter:
        return nn.Parameter(torch.randn(*shape, dtype=torch.float64), requires_grad=False)

    return LoraLinear(
        weight=frozen(outs, ins),
        bias=frozen(outs) if bias else None,
        A=nn.Parameter(torch.randn(3, ins, dtype=torch.float64)),
        B=nn.Parameter(torch.randn(outs, 3, dtype=torch.float64)),
        scale=1.7,
    )


def x_of(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def assert_gradients_right(
    compute: Callable[[Tensor], object], x: Tensor, joined: list[Joined]
) -> None:
    masters = [master for each in joined for master in each.masters]
    assert torch.autograd.gradcheck(lambda x, *_masters: compute(x), (x, *masters))


@pytest.mark.parametrize("bias", [False, True])
def test_gradients_of_one_layer(bias: bool) -> None:
    """The gradients of a layer's x, A and B are those that small differences show."""
    joined = Joined.of([lora_linear(5, 4, bias=bias)])
    assert_gradients_right(lambda x: project(x, joined), x_of(1, 6, 4), [joined])


def test_gradients_of_joined_layers() -> None:
    """So are those of layers that share their input, of which one has a bias."""
    joined = Joined.of([lora_linear(5, 4), lora_linear(2, 4, bias=True), lora_linear(3, 4)])
    assert_gradients_right(lambda x: project(x, joined), x_of(2, 3, 4), [joined])


def test_joined_layers_are_held_once() -> None:
    """Joined, the layers' own weights are parts of the one that multiplies, with the same numbers."""
    layers = [lora_linear(5, 4), lora_linear(2, 4)]
    before = [layer.weight.clone() for layer in layers]

    joined = Joined.of(layers)

    whole = joined.weight.untyped_storage().data_ptr()
    assert all(layer.weight.untyped_storage().data_ptr() == whole for layer in layers)
    assert all(torch.equal(layer.weight, b) for layer, b in zip(layers, before, strict=True))


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_of_the_mlp(activation) -> None:
    """The gradients of a gated MLP are those that small differences show."""
    gate_up = Joined.of([lora_linear(5, 4), lora_linear(5, 4, bias=True)])
    down = Joined.of([lora_linear(3, 5)])
    mlp = GatedMlp(gate_up, down, activation)
    assert_gradients_right(lambda x: apply_mlp(x, mlp), x_of(1, 6, 4), [gate_up, down])


@pytest.mark.parametrize("is_offset", [False, True])
def test_gradient_of_the_norm(is_offset: bool) -> None:
    """The gradient of a norm is the one that small differences show."""
    norm = RmsNorm(torch.randn(4, dtype=torch.float64), 1e-5, is_offset)
    assert torch.autograd.gradcheck(lambda x: apply_norm(x, norm), (x_of(2, 3, 4),))


def test_gradient_of_the_rotation() -> None:
    """The gradient of a rotation is the one that small differences show."""
    angles = torch.randn(1, 3, 2, dtype=torch.float64).repeat(1, 1, 2)
    assert torch.autograd.gradcheck(
        lambda x: rotate(x, angles.cos(), angles.sin()), (x_of(1, 2, 3, 4),)
    )


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_gradient_of_the_head(label_smoothing: float) -> None:
    """The gradient of the cross entropy is the one that small differences show."""
    layer = nn.Linear(4, 6, dtype=torch.float64).requires_grad_(requires_grad=False)
    head = Head(layer, logits_at_once=12)
    wanted = torch.tensor([3, 0, 5])

    def objective(hidden: Tensor) -> Tensor:
        return compare(hidden, wanted, head, label_smoothing=label_smoothing).objective

    assert torch.autograd.gradcheck(objective, (x_of(3, 4),))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
def test_the_head_in_pieces(label_smoothing: float) -> None:
    """Loss, objective, hits and gradient, made of a few rows at a time, are torch's own."""
    layer = nn.Linear(8, 50).requires_grad_(requires_grad=False)
    head = Head(layer, logits_at_once=200)
    hidden, wanted = torch.randn(9, 8), torch.arange(9)
    wanted[0] = layer(hidden[0]).argmax()
    ours, theirs = (hidden.clone().requires_grad_() for _ in range(2))

    sums = compare(ours, wanted, head, label_smoothing=label_smoothing)
    expected = compare_logits(layer(theirs), wanted, label_smoothing=label_smoothing)

    torch.testing.assert_close(tuple(sums), tuple(expected))
    (sums.objective / 7).backward()
    (expected.objective / 7).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_a_head_whose_logits_are_changed_stays() -> None:
    """Where a model bends its logits, as Gemma 2 does, they are made by the model itself."""
    assert tuned(networks.llama).head is not None
    assert tuned(networks.gemma2_with_soft_caps).head is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("module", [LlamaRMSNorm(64), Gemma2RMSNorm(64)])
def test_norms_are_those_of_transformers(module: nn.Module, dtype: torch.dtype) -> None:
    """Norms are transformers' to the bit, in either dtype, and their gradients within rounding."""
    module = copy.deepcopy(module).to(dtype).requires_grad_(requires_grad=False)
    module.weight += torch.randn(64)
    norm = RmsNorm(module.weight, 1e-6, is_offset=isinstance(module, Gemma2RMSNorm))
    x, theirs = (each.requires_grad_() for each in torch.randn(5, 64).to(dtype).expand(2, 5, 64))

    ours_y, theirs_y = apply_norm(x, norm), module(theirs)
    assert torch.equal(ours_y, theirs_y)
    dy = torch.randn(5, 64).to(dtype)
    torch.testing.assert_close(
        torch.autograd.grad(ours_y, x, dy),
        torch.autograd.grad(theirs_y, theirs, dy),
        **({} if dtype is torch.float32 else {"rtol": 0.05, "atol": 0.05}),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rotation_is_that_of_transformers(dtype: torch.dtype) -> None:
    """Rotated queries are transformers' to the bit, in either dtype."""
    angles = torch.randn(1, 7, 8).repeat(1, 1, 2)
    cos, sin = angles.cos().to(dtype), angles.sin().to(dtype)
    q = torch.randn(1, 7, 3, 16).to(dtype).transpose(1, 2)

    assert torch.equal(rotate(q, cos, sin), apply_rotary_pos_emb(q, q, cos, sin)[0])


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_pytorch_tanh"])
def test_activations_are_known_by_what_they_compute(name: str) -> None:
    """Transformers' activations of gated MLPs are found, others are not."""
    found = find_activation(ACT2FN[name])

    assert found is not None
    assert torch.equal(found.act(torch.arange(-3.0, 3.0)), ACT2FN[name](torch.arange(-3.0, 3.0)))
    assert find_activation(ACT2FN["relu2"]) is None


@pytest.mark.parametrize("make", N_KERNELS)
def test_families(make: Callable[[], PreTrainedModel]) -> None:
    """In each family all kernels fit, and loss and gradient are those of PEFT's modules."""
    plain, ours = tuned(make), tuned(make)
    plain.kernels.take_out()
    documents = networks.documents(9, 6, 23, 14)

    assert len(ours.kernels) == N_KERNELS[make]
    expected, gradients = _loss_and_gradients(plain, documents)
    loss, our_gradients = _loss_and_gradients(ours, documents)
    assert loss == pytest.approx(expected, rel=1e-6)
    for name, gradient in gradients.items():
        distance = (our_gradients[name] - gradient).norm() / gradient.norm()
        assert distance < 1e-5, name


@pytest.mark.parametrize("make", N_KERNELS)
def test_families_in_bfloat16(make: Callable[[], PreTrainedModel]) -> None:
    """In bfloat16 all kernels fit too."""
    assert len(tuned(make, dtype=torch.bfloat16).kernels) == N_KERNELS[make]


def test_without_kernels_modules_are_as_they_were() -> None:
    """Out, nothing of the kernels is left in the modules; they come back as they were, nested too."""
    model = tuned(networks.llama)
    documents = networks.documents(9)
    with_kernels = model.logits(documents)

    with model.as_served(), model.base_alone():
        assert not any("forward" in vars(module) for module in model.network.modules())

    assert sum("forward" in vars(module) for module in model.network.modules()) == len(
        model.kernels
    )
    assert torch.equal(model.logits(documents), with_kernels)


def test_recomputed_layers_learn_the_same() -> None:
    """A pass that keeps only what goes into each layer gives the same loss and gradient, to the bit."""
    model = tuned(networks.qwen3)
    documents = networks.documents(9, 23)
    expected, gradients = _loss_and_gradients(model, documents)
    for parameter in model.parameters.values():
        parameter.grad = None

    recompute_layers(model.network)
    again = score(model, documents).objective
    again.backward()

    assert float(again.detach()) == expected
    assert all(torch.equal(p.grad, gradients[name]) for name, p in model.parameters.items())
    assert len(_replaced(model)) == len(model.kernels) + 1  # the last layer is one of them
    with model.as_served():
        pass
    assert isinstance(model.network.model.layers[-1].forward, partial)


def test_a_pass_that_breaks_off_is_forgotten() -> None:
    """Where memory runs out between q and k, nothing of the pass is held: the next one needs it all."""
    model = tuned(networks.qwen3)
    attention = model.network.model.layers[-1].self_attn
    seen: list[weakref.ref[torch.Tensor]] = []

    def run_out(_module: torch.nn.Module, _inputs: tuple[torch.Tensor]) -> None:
        raise torch.OutOfMemoryError

    attention.q_proj.register_forward_pre_hook(
        lambda _module, inputs: seen.append(weakref.ref(inputs[0]))
    )
    attention.q_norm.register_forward_pre_hook(run_out)

    with pytest.raises(torch.OutOfMemoryError):
        model.logits(networks.documents(9))

    gc.collect()
    assert seen[0]() is None


def test_a_backward_pass_that_breaks_off_is_forgotten() -> None:
    """Where memory runs out while a layer is run a second time, nothing of it is held either."""
    model = tuned(networks.qwen3)
    recompute_layers(model.network)
    attention = model.network.model.layers[-1].self_attn
    seen: list[weakref.ref[torch.Tensor]] = []

    def run_out(_module: torch.nn.Module, _inputs: tuple[torch.Tensor]) -> None:
        raise torch.OutOfMemoryError

    def learn() -> None:
        with model.training():
            objective = score(model, networks.documents(9)).objective
            attention.q_proj.register_forward_pre_hook(
                lambda _module, inputs: seen.append(weakref.ref(inputs[0]))
            )
            attention.q_norm.register_forward_pre_hook(run_out)
            objective.backward()

    with pytest.raises(torch.OutOfMemoryError):
        learn()

    gc.collect()
    assert [each() for each in seen] == [None]


def test_weights_laid_out_early_are_not_moved_again() -> None:
    """A base laid out before its adapter keeps the memory that its weights lie in."""
    network = networks.llama()
    lay_out(network)
    before = [parameter.data_ptr() for parameter in network.parameters()]

    tuned(lambda: network)

    now = [p.data_ptr() for p in network.parameters() if not p.requires_grad]
    assert now == before


def test_weights_that_are_no_neighbours_stay_where_they_are() -> None:
    """A module may have the usual names for layers that read different inputs, or are rounded otherwise."""
    for value in (nn.Linear(6, 4), nn.Linear(8, 4, dtype=torch.bfloat16)):
        module = nn.Module()
        module.q_proj, module.k_proj, module.v_proj = nn.Linear(8, 4), nn.Linear(8, 4), value
        before = [(parameter.data_ptr(), parameter.dtype) for parameter in module.parameters()]
        lay_out(module)
        assert [(p.data_ptr(), p.dtype) for p in module.parameters()] == before


def test_dropout_stays_with_peft() -> None:
    """Layers whose adapter drops something out keep PEFT's computation; norms are ours all the same."""
    model = tuned(networks.llama, dropout=0.1)

    assert not any("proj" in name for name in _replaced(model))
    assert sum("norm" in name for name in _replaced(model)) == 5


class Subtracting(LlamaMLP):
    """Has the parts of a gated MLP, and does something else with them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.act_fn(self.gate_proj(x)) - self.up_proj(x))


def test_what_computes_otherwise_is_left_alone() -> None:
    """Where a part computes otherwise than its names say, only linear layers are replaced."""

    def make() -> PreTrainedModel:
        network = networks.llama()
        for layer in network.model.layers:
            layer.mlp.__class__ = Subtracting
        return network

    assert all("proj" in name for name in _replaced(tuned(make)))
    assert len(_replaced(tuned(make))) == 2 * 7


class Adding(LlamaDecoderLayer):
    """Has the parts of a layer, and adds them up otherwise, as Granite's do."""

    def forward(self, hidden_states: Tensor, **how: object) -> Tensor:
        return super().forward(hidden_states, **how) + hidden_states


def test_a_last_layer_that_computes_otherwise_is_left_alone() -> None:
    """Where only the last layer computes otherwise than its parts say, these are replaced all the same."""

    def make() -> PreTrainedModel:
        network = networks.llama()
        network.model.layers[-1].__class__ = Adding
        return network

    assert len(_replaced(tuned(make))) == N_KERNELS[networks.llama] - 1


class BatchRMSNorm(LlamaRMSNorm):
    """Wants what it is given to be a batch."""

    def forward(self, x: Tensor) -> Tensor:
        _batch, _tokens, _size = x.shape
        return super().forward(x)


def test_what_cannot_even_be_looked_at_is_left_alone() -> None:
    """A base whose parts refuse our probes trains all the same."""

    def make() -> PreTrainedModel:
        network = networks.llama()
        network.model.norm.__class__ = BatchRMSNorm
        return network

    assert len(_replaced(tuned(make))) == 2 * 7


def _replaced(model: TunedModel) -> list[str]:
    return [name for name, module in model.network.named_modules() if "forward" in vars(module)]


def _loss_and_gradients(model: TunedModel, documents) -> tuple[float, dict[str, Tensor]]:
    loss = score(model, documents).objective
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in model.parameters.items()}


def tuned(make: Callable[[], PreTrainedModel], *, dtype=torch.float32, dropout=0.0) -> TunedModel:
    """Give a network an adapter that acts, and the kernels that fit."""
    network = make().to(dtype)
    model = networks.tuned(network, choose_layout(network), dropout=dropout)
    return model.with_kernels(model.try_kernels())
