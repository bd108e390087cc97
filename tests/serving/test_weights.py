"""Safetensors files, read without torch."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from serving.weights import UnreadableWeights, has_only_numbers, linear_layers, read_weights
from tests.serving.conftest import NANO_DIR


def test_headers_tell_names_shapes_and_types(tmp_path):
    """A file's header gives each tensor's name, shape and dtype."""
    path = tmp_path / "w.safetensors"
    save_file(
        {"a": torch.ones(2, 3), "b": torch.ones(4, dtype=torch.bfloat16)}, path, {"format": "pt"}
    )
    tensors = read_weights(path).tensors
    assert tensors["a"].shape == (2, 3)
    assert tensors["b"].dtype == "BF16"
    assert tensors.keys() == {"a", "b"}


@pytest.mark.parametrize(
    "content",
    [b"", b"abc", b"\x05" + bytes(7) + b"[1,2]", b"\xff" * 9, b"\x02" + bytes(7) + b"{x"],
    ids=["empty", "short", "list", "endless", "no-json"],
)
def test_other_files_are_refused(tmp_path, content):
    """What is no safetensors file is refused in a sentence, whatever its bytes."""
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    with pytest.raises(UnreadableWeights, match=r"w\.safetensors"):
        read_weights(path)


def test_cut_files_are_refused(tmp_path):
    """A file that lost its end is refused before a number of it is read."""
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(64)}, path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableWeights, match="cut short"):
        read_weights(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
def test_a_single_bad_number_is_found(tmp_path, dtype, value):
    """One infinity or not-a-number among a thousand numbers is found, in each dtype."""
    tensor = torch.linspace(-3, 3, 1000).to(dtype)
    tensor[617] = value
    save_file({"a": tensor}, tmp_path / "w.safetensors")
    assert not has_only_numbers(read_weights(tmp_path / "w.safetensors"), "a")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_numbers_of_any_usual_size_pass(tmp_path, dtype):
    """Zero, tiny and large numbers of both signs are numbers."""
    values = np.concatenate([np.geomspace(1e-7, 6e4, 500), [0.0]])
    tensor = torch.tensor(np.concatenate([values, -values])).to(dtype)
    save_file({"a": tensor}, tmp_path / "w.safetensors")
    assert has_only_numbers(read_weights(tmp_path / "w.safetensors"), "a")


def test_a_bases_layers_are_its_linear_ones():
    """A base's layers are all its linear ones with their shapes, without embedding, head and norms."""
    layers = linear_layers(NANO_DIR)
    assert layers["model.layers.0.self_attn.k_proj"] == (64, 192)
    assert layers["model.layers.5.mlp.down_proj"] == (192, 512)
    assert len(layers) == 6 * 7
