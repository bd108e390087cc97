"""Adapters before they are loaded, and who has loaded them."""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from schemas.errors import ModelServerUnavailable
from serving.adapters import Residency, inspect_adapter
from serving.vllm import AdapterRejected, Vllm
from tests.serving.adapters_made import CONFIG, WEIGHTS, changed_copy, renamed_copy, scaled_copy
from tests.serving.conftest import NANO_DIR
from tests.serving.scripted_vllm import ScriptedVllm, serving

FIRST_A = "base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"


@pytest.fixture
def adapter(adapters: dict[str, Path], tmp_path: Path) -> Path:
    """An honest adapter, for one test to spoil."""
    return Path(shutil.copytree(adapters["other"], tmp_path / "adapter"))


def with_tensors(adapter: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    tensors = load_file(adapter / WEIGHTS)
    change(tensors)
    save_file(tensors, adapter / WEIGHTS)
    return adapter


def refusal(adapter: Path, base_dir: Path = NANO_DIR, max_rank: int = 64) -> str:
    with pytest.raises(AdapterRejected) as refused:
        inspect_adapter(adapter, base_dir, max_rank=max_rank)
    assert refused.value.code == "adapter_rejected"
    return refused.value.reason


def test_an_adapter_of_pefts_passes(adapters):
    """What PEFT writes for all linear layers of a base may be loaded, and its facts are told."""
    facts = inspect_adapter(adapters["trained"], NANO_DIR, max_rank=8)
    assert (facts.rank, facts.alpha, facts.n_layers, facts.dtype) == (8, 16, 42, "F32")
    assert facts.n_parameters == 8 * 6 * (2 * (192 + 192) + 2 * (192 + 64) + 3 * (192 + 512))


def test_numbers_that_are_none_are_refused(adapter, tmp_path):
    """A single not-a-number would empty other tenants' answers; it is found and named."""
    spoilt = scaled_copy(adapter, tmp_path / "nan", float("nan"))
    assert "lora_B.weight holds values that are no finite numbers" in refusal(spoilt)


def test_infinity_is_refused(adapter):
    """So is an infinity."""
    with_tensors(adapter, lambda tensors: tensors[FIRST_A][0].fill_(torch.inf))
    assert FIRST_A in refusal(adapter)


def test_names_without_their_level_are_refused(adapter, tmp_path):
    """Names that vLLM would silently skip, leaving the base, are refused."""
    skipped = renamed_copy(adapter, tmp_path / "x", "base_model.model.model.", "base_model.model.")
    assert "belongs to no linear layer" in refusal(skipped)


def test_layers_the_base_lacks_are_refused(adapter, tmp_path):
    """An adapter of a deeper model is refused."""
    deeper = renamed_copy(adapter, tmp_path / "x", "layers.5.", "layers.6.")
    assert "layers.6." in refusal(deeper)


@pytest.mark.parametrize("part", ["lm_head", "model.embed_tokens"])
def test_head_and_embedding_are_refused(adapter, part):
    """Adapters of the head or the embedding, which the engine is not started for, are refused."""

    def add(tensors):
        tensors[f"base_model.model.{part}.lora_A.weight"] = torch.ones(8, 192)
        tensors[f"base_model.model.{part}.lora_B.weight"] = torch.ones(2048, 8)

    assert part in refusal(with_tensors(adapter, add))


def test_another_bases_widths_are_refused(adapter):
    """An adapter of a base with other widths, which vLLM would load and babble with, is refused."""

    def narrow(tensors):
        tensors[FIRST_A] = tensors[FIRST_A][:, :256].clone()

    assert "has shape (8, 256); its base has 512 there" in refusal(with_tensors(adapter, narrow))


def test_half_a_layer_is_refused(adapter):
    """A layer with A but without B is refused."""
    with_tensors(adapter, lambda tensors: tensors.pop(FIRST_A.replace("lora_A", "lora_B")))
    assert "lacks one of its two matrices" in refusal(adapter)


def test_ranks_that_the_configuration_does_not_say_are_refused(adapter, tmp_path):
    """VLLM scales by the configuration's rank, so tensors of another rank are refused."""
    assert "has rank 8; adapter_config.json says 4" in refusal(
        changed_copy(adapter, tmp_path / "x", r=4)
    )


def test_ranks_over_the_engines_are_refused(adapter):
    """An adapter of a larger rank than the engine was started for is refused."""
    assert "rank 8 is over the engine's maximum, 4" in refusal(adapter, max_rank=4)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("peft_type", "IA3"),
        ("use_dora", True),
        ("bias", "all"),
        ("lora_bias", True),
        ("modules_to_save", ["lm_head"]),
        ("rank_pattern", {"q_proj": 4}),
        ("alpha_pattern", {"q_proj": 4}),
        ("layer_replication", [[0, 4]]),
        ("trainable_token_indices", [1]),
        ("init_lora_weights", "pissa"),
        ("r", 0),
        ("lora_alpha", "much"),
    ],
)
def test_kinds_that_vllm_serves_otherwise_are_refused(adapter, tmp_path, field, value):
    """Whatever makes an adapter more than a plain LoRA is refused by its field's name."""
    assert field in refusal(changed_copy(adapter, tmp_path / "x", **{field: value}))


def test_configuration_that_is_no_json_is_refused(adapter):
    """A configuration that cannot be read is refused in a sentence."""
    (adapter / CONFIG).write_text("{")
    assert CONFIG in refusal(adapter)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS])
def test_missing_files_are_refused(adapter, name):
    """An adapter without one of its two files is refused by the file's name."""
    (adapter / name).unlink()
    assert f"{name} is missing" in refusal(adapter)


@pytest.mark.parametrize("name", ["adapter_model.bin", "tokenizer.json", "model.py"])
def test_files_that_do_not_belong_are_refused(adapter, name):
    """A pickle, a tokenizer or code beside an adapter is refused."""
    (adapter / name).touch()
    assert name in refusal(adapter)


def test_cut_weights_are_refused(adapter):
    """Weights that lost their end are refused."""
    path = adapter / WEIGHTS
    path.write_bytes(path.read_bytes()[:-100])
    assert "cut short" in refusal(adapter)


def test_weights_without_tensors_are_refused(adapter):
    """An adapter without any tensor is refused."""
    save_file({}, adapter / WEIGHTS)
    assert "no tensors" in refusal(adapter)


def test_bases_without_weights_are_refused(adapter, tmp_path):
    """Against a base that has no weights nothing is let through."""
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 2048}))
    assert "no safetensors weights" in refusal(adapter, base_dir=tmp_path)


pytestmark = pytest.mark.anyio


async def test_concurrent_callers_share_one_load(short_tmp_path):
    """However many ask for an adapter at once, it is loaded once, and then not again."""
    engine = ScriptedVllm()
    residency = Residency()
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        async with asyncio.TaskGroup() as group:
            for _ in range(20):
                group.create_task(residency.ensure(vllm, "a", Path("/a")))
        await residency.ensure(vllm, "a", Path("/a"))
        assert residency.is_resident(vllm, "a")
    assert engine.loads == ["a"]


async def test_a_caller_that_gives_up_stops_no_load(short_tmp_path):
    """When the first caller is cancelled, the load goes on for the others."""
    engine = ScriptedVllm(load_gate=asyncio.Event())
    residency = Residency()
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        first = asyncio.create_task(residency.ensure(vllm, "a", Path("/a")))
        second = asyncio.create_task(residency.ensure(vllm, "a", Path("/a")))
        await engine.load_begun.wait()
        first.cancel()
        engine.load_gate.set()
        await second
    assert engine.loads == ["a"]
    assert first.cancelled()


async def test_a_failed_load_is_tried_again(short_tmp_path):
    """A load that failed does not stick: the next caller tries again."""
    engine = ScriptedVllm(
        load_answers=[(500, "EngineCore encountered an issue."), (200, "Success")]
    )
    residency = Residency()
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        with pytest.raises(ModelServerUnavailable):
            await residency.ensure(vllm, "a", Path("/a"))
        assert not residency.is_resident(vllm, "a")
        await residency.ensure(vllm, "a", Path("/a"))
    assert engine.loads == ["a", "a"]


async def test_a_forgotten_adapter_is_loaded_again(short_tmp_path):
    """After `forget`, of one adapter or of all, the next caller loads it again."""
    engine = ScriptedVllm()
    residency = Residency()
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        for name in ("a", "b"):
            await residency.ensure(vllm, name, Path(f"/{name}"))
        residency.forget(vllm, "a")
        assert residency.is_resident(vllm, "b")
        await residency.ensure(vllm, "a", Path("/a"))
        residency.forget(vllm)
        await residency.ensure(vllm, "b", Path("/b"))
    assert engine.loads == ["a", "b", "a", "b"]


async def test_a_load_that_hangs_ends_in_503(short_tmp_path):
    """A caller waits for a load no longer than it is told to, and can try again."""
    engine = ScriptedVllm(load_gate=asyncio.Event())
    residency = Residency(patience=0.05)
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        with pytest.raises(ModelServerUnavailable) as refused:
            await residency.ensure(vllm, "a", Path("/a"))
        assert refused.value.status == 503
        engine.load_gate.set()
        await residency.ensure(vllm, "a", Path("/a"))
