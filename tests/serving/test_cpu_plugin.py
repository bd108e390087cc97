"""The LoRA operators that take the places of vLLM's on a CPU."""

import subprocess
import sys

import pytest
import torch

from serving.cpu_plugin import (
    bgmv_expand,
    bgmv_expand_slice,
    bgmv_shrink,
    over_runs,
    serves_base_with_last_adapter,
)

SLOTS, RANK, WIDTH, OUT = 3, 4, 10, 6
MAPPINGS = {
    "one adapter": [1, 1, 1, 1, 1],
    "base alone": [-1, -1, -1, -1, -1],
    "base between": [0, -1, -1, 2, 2],
    "scattered": [2, 0, -1, 2, 0],
    "one token": [1],
}


@pytest.fixture(params=MAPPINGS.values(), ids=list(MAPPINGS))
def slots(request: pytest.FixtureRequest) -> torch.Tensor:
    return torch.tensor(request.param)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)


def expected(x: torch.Tensor, weights: torch.Tensor, slots: torch.Tensor) -> torch.Tensor:
    """What each token gets, one at a time: zero where it has no adapter."""
    rows = [
        x[i].float() @ weights[slot].squeeze(0).float().T
        if slot >= 0
        else torch.zeros(weights.shape[-2])
        for i, slot in enumerate(slots.tolist())
    ]
    return torch.stack(rows)


def test_shrink_scales_what_each_tokens_adapter_makes(slots, dtype):
    """Each token is multiplied by its own adapter's A and the scale; one without adapter becomes zero."""
    x, a = numbers(len(slots), WIDTH, dtype=dtype), numbers(SLOTS, 1, RANK, WIDTH, dtype=dtype)
    out = torch.full((len(slots), RANK + 2), 7.0)
    bgmv_shrink(x, a, out, slots, 0.5)
    torch.testing.assert_close(out[:, :RANK], 0.5 * expected(x, a, slots))
    assert (out[:, RANK:] == 7).all()


def test_expand_adds_to_each_token(slots, dtype):
    """Each token gets its own adapter's B added; one without adapter stays bit for bit."""
    x, b = numbers(len(slots), RANK), numbers(SLOTS, OUT, RANK, dtype=dtype)
    before = numbers(len(slots), OUT, dtype=dtype)
    out = before.clone()
    bgmv_expand(x, b, out, slots)
    close = {"rtol": 2e-2, "atol": 2e-2} if dtype == torch.bfloat16 else {}
    torch.testing.assert_close(
        out.float(), before.float() + expected(x, b, slots), check_dtype=False, **close
    )
    assert torch.equal(out[slots < 0], before[slots < 0])


def test_expand_can_replace(slots):
    """Asked to replace, it overwrites the tokens that have an adapter and no others."""
    x, b = numbers(len(slots), RANK), numbers(SLOTS, 1, OUT, RANK)
    before = numbers(len(slots), OUT)
    out = before.clone()
    bgmv_expand(x, b, out, slots, add_inputs=False)
    torch.testing.assert_close(
        out, torch.where((slots >= 0)[:, None], expected(x, b, slots), before)
    )


@pytest.mark.parametrize("add", [True, False])
def test_slices_touch_their_columns_only(slots, add):
    """A slice's columns change as the whole would; the columns beside it stay."""
    x, b = numbers(len(slots), RANK), numbers(SLOTS, 1, OUT, RANK)
    before = numbers(len(slots), OUT + 5)
    out = before.clone()
    bgmv_expand_slice(x, b, out, slots, 3, OUT, add)
    whole = before[:, 3 : 3 + OUT].clone()
    bgmv_expand(x, b, whole, slots, add)
    assert torch.equal(out[:, 3 : 3 + OUT], whole)
    assert torch.equal(out[:, :3], before[:, :3])
    assert torch.equal(out[:, 3 + OUT :], before[:, 3 + OUT :])


def test_widths_may_differ_by_padding():
    """Where weights and output are padded differently, the narrower width counts."""
    x, b, slots = numbers(2, RANK), numbers(SLOTS, 1, OUT, RANK), torch.tensor([0, 2])
    narrow, wide = torch.zeros(2, OUT - 2), torch.zeros(2, OUT + 2)
    bgmv_expand(x, b, narrow, slots)
    bgmv_expand(x, b, wide, slots)
    torch.testing.assert_close(narrow, expected(x, b, slots)[:, : OUT - 2])
    assert (wide[:, OUT:] == 0).all()


def test_inputs_need_not_be_contiguous(slots):
    """Views with strides of their own give the same as copies."""
    x = numbers(WIDTH, len(slots)).T
    a = numbers(SLOTS, 1, WIDTH, RANK).transpose(2, 3)
    out = torch.zeros(RANK, len(slots)).T
    bgmv_shrink(x, a, out, slots)
    torch.testing.assert_close(out, expected(x, a, slots))


def test_runs_are_tokens_with_one_slot():
    """With one slot for each run of tokens it does what it does with one for each token."""
    x, a = numbers(5, WIDTH), numbers(SLOTS, 1, RANK, WIDTH)
    by_run, by_token = torch.zeros(5, RANK), torch.zeros(5, RANK)
    starts, lengths, slots = torch.tensor([0, 2]), torch.tensor([2, 3]), torch.tensor([1, -1])
    over_runs(bgmv_shrink)(x, a, by_run, starts, lengths, slots, 2, 3, 5, 2.0)
    bgmv_shrink(x, a, by_token, torch.tensor([1, 1, -1, -1, -1]), 2.0)
    assert torch.equal(by_run, by_token)


def test_the_fault_is_seen_where_it_is():
    """The probe tells an operator that takes -1 for the last slot from one that does not."""

    def faulty(x, a, out, slots, scaling):
        out[:] = scaling * torch.einsum("bi,boi->bo", x, a[slots].squeeze(1))

    assert serves_base_with_last_adapter(faulty)
    assert not serves_base_with_last_adapter(bgmv_shrink)


@pytest.mark.engine
def test_vllm_takes_ours():
    """After vLLM has loaded its plugins, its CPU wrapper calls our operators."""
    program = (
        "from vllm.plugins import load_general_plugins; load_general_plugins();"
        "from vllm.lora.punica_wrapper import punica_cpu; from vllm.lora.ops import torch_ops;"
        "print(punica_cpu.bgmv_shrink.__module__, torch_ops.sgmv_expand.__module__)"
    )
    environment = {"VLLM_PLUGINS": "retune_cpu_lora", "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert ran.stdout.split()[-2:] == ["serving.cpu_plugin", "serving.cpu_plugin"]
