"""What a training will hold, before it runs."""

import json

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.memory_estimate import PROCESS_BYTES, Shape, tokens_that_fit

NANO = Shape.read(NANO_DIRECTORY)

# Measured with `python -m tests.bench.memory`: tokens at once in documents of 256, a third of them
# trained, megabytes over what the process held before; torch 2.13, bfloat16, one thread.
MEASURED = [
    pytest.param(
        Shape(8, 384, 1024, n_heads=6, head_size=64, n_key_heads=2, vocabulary_size=32_768),
        25_177_984,
        868_352,
        {256: 222, 1024: 390},
        id="random-16m",
    ),
    pytest.param(
        Shape(30, 576, 1536, n_heads=9, head_size=64, n_key_heads=3, vocabulary_size=49_152),
        134_515_008,
        4_884_480,
        {256: 780, 1024: 1419},
        id="smollm2-135m",
    ),
]


@pytest.mark.parametrize(("shape", "n_parameters", "n_adapter", "measured"), MEASURED)
def test_the_estimate_is_near_what_was_measured(shape, n_parameters, n_adapter, measured):
    """Of a whole trainer's memory it is within 20 %, and never less than nine tenths."""
    for n_tokens, megabytes in measured.items():
        step = shape.step_bytes(
            n_tokens=n_tokens, n_trained=n_tokens // 3, longest=256, bytes_each=2
        )
        estimate = (
            PROCESS_BYTES
            + shape.weights_bytes(n_parameters, bytes_each=2)
            + shape.adapter_bytes(n_adapter)
            + step
        )
        assert 0.9 < estimate / (447e6 + megabytes * 1e6) < 1.2


def test_shapes_are_read_from_any_decoders_words(tmp_path):
    """The words of GPT-2 and BLOOM are known, a text model's within another too; without words there is none."""
    for config in (
        {"n_layer": 2, "n_embed": 32, "n_head": 4, "vocab_size": 96},
        {"text_config": {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}}
        | {"vocab_size": 96},
    ):
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert Shape.read(tmp_path) == Shape(
            2, 32, 128, n_heads=4, head_size=8, n_key_heads=4, vocabulary_size=96
        )
    (tmp_path / "config.json").write_text('{"vocab_size": 96}')
    assert Shape.read(tmp_path) is None


def test_tokens_are_halved_until_they_fit():
    """As many as gain something where memory is plenty, then half, and at least one."""

    def fitting(free):
        return tokens_that_fit(
            NANO, free=free, at_most=2048, trained_share=0.5, longest=100, bytes_each=2
        )

    assert fitting(10**12) == 2048
    assert fitting(80_000_000) in {512, 1024}
    assert fitting(0) == 1


def test_recomputing_holds_less():
    """Layers that keep only what goes into them hold a fraction."""
    asked = {"n_tokens": 2048, "n_trained": 10, "longest": 256, "bytes_each": 2}
    assert NANO.step_bytes(**asked, recomputed=True) < 0.6 * NANO.step_bytes(**asked)
