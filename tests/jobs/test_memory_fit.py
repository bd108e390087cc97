"""Whether a file fits into a machine, said before anything is trained."""

import re

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.memory_fit import bytes_of_a_number, is_for_trainers_alone, warn_of_memory
from jobs.memory_left import memory_left, memory_total
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure

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


def warned(base, *, longest=500, total=8 * 2**30, left=4 * 2**30):
    return warn_of_memory(base, longest=longest, n_trained=100, total=total, left=left)


def test_what_fits_is_not_mentioned():
    """Nor is what is not known."""
    assert warned(NANO) is None
    assert warned(LARGE, total=None) is None


def test_what_never_fits_fails_at_once():
    """A base beyond the whole machine ends the job before anything is loaded, in gibibytes."""
    with pytest.raises(JobFailure, match=r"about 26\d\.\d GiB .* machine has 8\.0 GiB") as failure:
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
