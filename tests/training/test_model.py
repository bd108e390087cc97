"""Loading bases and adapters, and rounding them as the engine does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.training.kernels.fitting import find_all
from jobs.training.layouts import Padded
from jobs.training.model import CONFIG, WEIGHTS, LoadedBase, TunedModel
from schemas.errors import JobFailure
from schemas.training import LoraSpec, TrainingSpec
from serving.adapters import inspect_adapter
from tests.training import networks

MakeSpec = Callable[..., TrainingSpec]


def test_every_linear_layer_but_the_head(make_spec: MakeSpec) -> None:
    """A fresh adapter sits on every linear layer but the head, trains in float32, and is still nothing."""
    model = TunedModel.load(make_spec())
    document = networks.documents(12)

    tuned = model.logits(document)
    with model.base_alone():
        base = model.logits(document)

    assert len(model.parameters) == 6 * 7 * 2
    assert {parameter.dtype for parameter in model.parameters.values()} == {torch.float32}
    assert not any("lm_head" in name for name in model.parameters)
    assert torch.equal(tuned, base)


def test_a_saved_adapter_loads_as_it_was(make_spec: MakeSpec, tmp_path: Path) -> None:
    """What is saved and loaded again computes the same, to the bit."""
    model = TunedModel.load(make_spec())
    for name, parameter in model.parameters.items():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    model.save_adapter(tmp_path, base_name="retune-nano")

    again = TunedModel.load(make_spec(init_adapter_dir=tmp_path))

    document = networks.documents(12)
    assert torch.equal(again.logits(document), model.logits(document))


def test_an_adapter_of_another_shape(make_spec: MakeSpec, nano_dir: Path, tmp_path: Path) -> None:
    """Rank, alpha, layers and rsLoRA are as asked for, on disk too, and may be served."""
    lora = LoraSpec(rank=4, alpha=8, target_modules=("q_proj", "v_proj"), use_rslora=True)
    model = TunedModel.load(make_spec(lora=lora))
    model.save_adapter(tmp_path, base_name="retune-nano")

    facts = inspect_adapter(tmp_path, nano_dir, max_rank=64)

    assert len(model.parameters) == 6 * 2 * 2
    assert (facts.rank, facts.alpha, facts.n_layers) == (4, 8, 12)
    assert {layer.scaling["default"] for layer in model._lora_layers} == {8 / 4**0.5}
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["use_rslora"] is True
    assert config["target_modules"] == ["q_proj", "v_proj"]


def test_an_earlier_adapter_keeps_its_shape(make_spec: MakeSpec, tmp_path: Path) -> None:
    """Whatever the spec says of rank, alpha and layers; its dropout is the spec's."""
    lora = LoraSpec(rank=4, alpha=8, target_modules=("q_proj",), dropout=0.5)
    TunedModel.load(make_spec(lora=lora)).save_adapter(tmp_path, base_name="retune-nano")

    again = TunedModel.load(make_spec(init_adapter_dir=tmp_path, lora=LoraSpec(dropout=0.25)))

    assert {tuple(p.shape) for p in again.parameters.values()} == {(4, 192), (192, 4)}
    assert {layer.lora_dropout["default"].p for layer in again._lora_layers} == {0.25}


def test_a_base_without_weights(make_spec: MakeSpec, nano_dir: Path, tmp_path: Path) -> None:
    """A base whose weights are missing is refused in words that show no path of the machine."""
    base_dir = tmp_path / "base"
    shutil.copytree(nano_dir, base_dir, ignore=shutil.ignore_patterns("*.safetensors"))

    with pytest.raises(JobFailure) as failure:
        TunedModel.load(make_spec(base_dir=base_dir))
    assert failure.value.code == "base_model_unusable"
    assert str(tmp_path) not in failure.value.message


def test_a_base_with_half_its_weights(make_spec: MakeSpec, nano_dir: Path, tmp_path: Path) -> None:
    """A base that lacks a tensor is refused; transformers would make one up."""
    base_dir = tmp_path / "base"
    shutil.copytree(nano_dir, base_dir)
    weights = load_file(base_dir / "model.safetensors")
    missing = weights.pop("model.layers.3.mlp.up_proj.weight")
    assert missing.ndim == 2
    save_file(weights, base_dir / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(JobFailure, match=r"layers\.3\.mlp\.up_proj"):
        TunedModel.load(make_spec(base_dir=base_dir))


def test_an_adapter_of_other_layers(make_spec: MakeSpec, tmp_path: Path) -> None:
    """An earlier adapter whose tensors are not this base's is refused, not half used."""
    TunedModel.load(make_spec()).save_adapter(tmp_path, base_name="retune-nano")
    weights = {
        name.replace("layers.5", "layers.9"): w for name, w in load_file(tmp_path / WEIGHTS).items()
    }
    save_file(weights, tmp_path / WEIGHTS)

    with pytest.raises(JobFailure, match="this base's layers") as failure:
        TunedModel.load(make_spec(init_adapter_dir=tmp_path))
    assert failure.value.code == "init_adapter_unusable"


def test_an_adapter_that_is_not_there(make_spec: MakeSpec, tmp_path: Path) -> None:
    """An earlier adapter that cannot be read is refused with the code for it."""
    (tmp_path / CONFIG).write_text("{")

    with pytest.raises(JobFailure) as failure:
        TunedModel.load(make_spec(init_adapter_dir=tmp_path))
    assert failure.value.code == "init_adapter_unusable"


def test_as_served_rounds_and_gives_back() -> None:
    """While served, the adapter holds what vLLM will hold; afterwards it is as before, to the bit."""
    model = networks.tuned(networks.llama(), Padded())
    before = {name: p.detach().clone() for name, p in model.peft.named_parameters()}
    layer = model.network.model.layers[0].mlp.up_proj
    scale = layer.scaling["default"]
    expected = layer.lora_B["default"].weight.detach().bfloat16() * scale

    with model.as_served():
        served = (layer.lora_B["default"].weight.detach() * scale).bfloat16()
        base_dtype = layer.base_layer.weight.dtype

    assert torch.equal(served, expected)
    assert base_dtype == torch.bfloat16
    assert all(torch.equal(p, before[name]) for name, p in model.peft.named_parameters())


def test_a_base_is_as_it_was_after_its_trial(nano_dir: Path) -> None:
    """Trying the kernels leaves no adapter, no kernel and no other number behind."""
    base = LoadedBase.load(nano_dir)
    weights = {name: weight.clone() for name, weight in base.network.state_dict().items()}
    assert base.trusted.find is find_all
    after = base.network.state_dict()
    assert list(after) == list(weights)
    assert all(torch.equal(after[name], weight) for name, weight in weights.items())
    assert not any("forward" in vars(module) for module in base.network.modules())
