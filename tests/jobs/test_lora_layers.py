"""Words and names for the layers that get an adapter."""

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.lora_layers import (
    count_parameters,
    layers_of,
    short_names,
    target_modules,
    targeted,
    unknown_modules,
)

NANO = layers_of(NANO_DIRECTORY)
GPT2 = {
    "transformer.h.0.attn.c_attn": (6, 2),
    "transformer.h.0.attn.c_proj": (2, 2),
    "transformer.h.0.mlp.c_fc": (8, 2),
    "transformer.h.0.mlp.c_proj": (2, 8),
}
ATTENTION = ("k_proj", "o_proj", "q_proj", "v_proj")


@pytest.mark.parametrize(
    ("asked", "modules"),
    [
        (None, None),
        ("all-linear", None),
        ("attention", ATTENTION),
        ("mlp", ("down_proj", "gate_proj", "up_proj")),
        (["v_proj", "q_proj", "q_proj"], ("q_proj", "v_proj")),
    ],
)
def test_words_become_names(asked, modules):
    """Those of the base, in order, each once; None is every layer."""
    assert target_modules(asked, NANO) == modules


def test_a_name_that_two_layers_share_is_told_apart():
    """GPT-2's attention and MLP both end in `c_proj`."""
    assert target_modules("attention", GPT2) == ("attn.c_proj", "c_attn")
    selected = targeted(GPT2, target_modules("mlp", GPT2))
    assert selected.keys() == {"transformer.h.0.mlp.c_fc", "transformer.h.0.mlp.c_proj"}


def test_only_whole_names_count():
    """A name ends a layer's at a dot, or it selects nothing."""
    assert unknown_modules(["q_proj", "self_attn.q_proj", "proj", "lm_head"], NANO) == [
        "proj", "lm_head",
    ]  # fmt: skip
    assert len(targeted(NANO, ["0.self_attn.q_proj"])) == 1


def test_parameters_are_counted():
    """Rank 8 on every layer of the tiny base has what PEFT says that it has."""
    assert count_parameters(NANO, rank=8) == 162_816
    assert len(short_names(NANO)) == 7


def test_a_base_that_cannot_be_read_has_no_layers(tmp_path):
    """Whoever trains on it will say why."""
    assert layers_of(tmp_path) == {}
