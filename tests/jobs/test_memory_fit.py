"""Whether a file fits into a machine, said before anything is trained."""

import re

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.memory_fit import (
    AdapterSize,
    Demand,
    bytes_of_a_number,
    is_for_trainers_alone,
    trainer_memory,
    warn_of_memory,
)
from jobs.memory_left import memory_left, memory_total
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure
from schemas.fine_tuning import Hyperparameters

NANO = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=1024,
    hidden_size=192,
    model_type="llama",
    n_parameters=2_757_312,
    digest="d",
    created=1,
)
LARGE = NANO.model_copy(update={"n_parameters": 70_000_000_000})


ADAPTER = AdapterSize(325_632, rank=16)


def warned(base, *, longest=500, total=8 * 2**30, left=4 * 2**30, adapter=ADAPTER):
    demand = Demand.of(base, adapter, bytes_each=2)
    return warn_of_memory(demand, longest=longest, n_trained=100, total=total, left=left)


def test_what_fits_is_not_mentioned():
    """Where memory is plenty, nothing is said."""
    assert warned(NANO) is None


def test_a_base_without_a_shape_demands_nothing(tmp_path):
    """Of what cannot be read, nothing is known; nobody is refused for it."""
    assert Demand.of(NANO.model_copy(update={"directory": tmp_path}), ADAPTER, bytes_each=2) is None
    (tmp_path / "config.json").write_text("[")
    assert Demand.of(NANO.model_copy(update={"directory": tmp_path}), ADAPTER, bytes_each=2) is None


@pytest.mark.parametrize(
    ("asked", "n_parameters"),
    [
        ({}, 325_632),
        ({"lora_rank": 4}, 81_408),
        ({"lora_rank": 4, "lora_target_modules": ["q_proj"]}, 9_216),
    ],
)
def test_an_adapter_is_as_large_as_the_job_asks(asked, n_parameters):
    """By its rank and by its layers."""
    size = AdapterSize.of(NANO, Hyperparameters(**asked), max_rank=64, earlier=None)
    assert size.n_parameters == n_parameters


def test_an_adapter_that_is_trained_further_is_as_large_as_it_is(tmp_path):
    """Whatever its rank was: four bytes of its file are a parameter; one that is gone is the trainer's to tell of."""
    (tmp_path / "adapter_model.safetensors").write_bytes(bytes(4000))
    sizes = [
        AdapterSize.of(NANO, Hyperparameters(), max_rank=64, earlier=earlier).n_parameters
        for earlier in (tmp_path, tmp_path / "gone")
    ]
    assert sizes == [1000, 0]


def test_a_large_adapter_takes_its_optimizer_too():
    """16 bytes a parameter: what fits with a small one does not with a large one."""
    assert warned(NANO, adapter=AdapterSize(100_000_000, rank=64)) is None
    with pytest.raises(JobFailure, match="Shorten"):
        warned(NANO, adapter=AdapterSize(1_000_000_000, rank=64))


def test_each_process_has_its_share():
    """Several that train together hold the base several times."""
    one, two = (trainer_memory(n_processes=n) for n in (1, 2))
    assert one is None or two.total_bytes == one.total_bytes // 2


def test_what_never_fits_fails_at_once():
    """A base beyond the whole machine ends the job before anything is loaded, in gibibytes."""
    with pytest.raises(JobFailure, match=r"about 26\d\.\d GiB .* trainer has 8\.0 GiB") as failure:
        warned(LARGE)
    assert failure.value.code == "out_of_memory"


def test_what_is_short_now_is_a_warning():
    """Where others hold memory, the job goes on and says what it will cost."""
    told = warned(NANO, longest=1000, left=2**29)
    assert "0.5 GiB are free now" in told
    assert re.search(r"about [\d,]+ tokens at once fit", told)


def test_bases_without_kernels_take_more():
    """What is enough for a base that the kernels know is a warning for one that they may not."""
    unknown = NANO.model_copy(update={"model_type": "other"})
    left = 700_000_000
    assert warned(NANO, longest=1000, left=left) is None
    assert "are free now" in warned(unknown, longest=1000, left=left)


@pytest.mark.parametrize(
    ("flags", "n_bytes"), [("avx2 avx512_bf16", 2), ("asimd bf16", 2), ("avx2 fma", 4)]
)
def test_a_number_takes_what_the_processor_computes_in(flags, n_bytes, tmp_path):
    """Two bytes with instructions for bfloat16, four without, two where nobody tells."""
    assert bytes_of_a_number(tmp_path) == 2
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(f"flags : {flags}\n")
    assert bytes_of_a_number(tmp_path) == n_bytes


def test_a_containers_limit_is_the_total(tmp_path):
    """The smaller of the machine and what the control group allows; of this machine it is more than is left."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/meminfo").write_text("MemTotal: 4096 kB\n")
    assert memory_total(tmp_path) == 4 * 2**20
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("1048576\n")
    assert memory_total(tmp_path) == 2**20
    assert memory_total() > memory_left()


@pytest.mark.parametrize("name", ["proc/driver/nvidia", "dev/dxg", "dev/kfd"])
def test_a_gpus_memory_is_not_guessed_from_the_machines(name, tmp_path):
    """NVIDIA's under Linux and under WSL 2, and AMD's."""
    assert not is_for_trainers_alone(tmp_path)
    (tmp_path / name).mkdir(parents=True)
    assert is_for_trainers_alone(tmp_path)
