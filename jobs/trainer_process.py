"""How a trainer's process is started: what it is handed, and that its end is everything's end."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path
from typing import Final

from schemas.bases import BaseModelInfo
from schemas.settings import Settings
from schemas.training import TrainingSpec, WarmUp

_MAX_LINE: Final = 2**20
_PASSED_ON: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "HF_HOME",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "PYTHONPATH",
    "VIRTUAL_ENV",
)


def trainer_environment() -> dict[str, str]:
    """Return what a trainer is told of our environment: no keys, no databases."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def trainer_threads(settings: Settings) -> int:
    """Return how many a trainer computes with: by default one core is left for all else."""
    return settings.trainer_threads or max(1, (os.cpu_count() or 2) - 1)


def trainer_module(spec: TrainingSpec) -> str:
    """Return what to run: the trainer itself, or what starts several of them under torchrun's agent."""
    return "jobs.training" if spec.n_processes == 1 else "jobs.training.launching"


def warm_up_for(base: BaseModelInfo, settings: Settings) -> WarmUp:
    """Return what a trainer can do ahead for the next job on a base."""
    return WarmUp(
        base_dir=base.directory,
        base_digest=base.digest,
        n_threads=trainer_threads(settings),
    )


async def launch(
    module: str, *arguments: str, log_path: Path, environment: dict[str, str]
) -> Process:
    """Start a module as a process in a group of its own, with pipes to its standard input and output.

    Args:
        module: What to run.
        arguments: For it.
        log_path: Takes its standard error.
        environment: All of it.
    """
    with log_path.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            *arguments,
            stdin=PIPE,
            stdout=PIPE,
            stderr=log,
            env=environment,
            limit=_MAX_LINE,
            start_new_session=True,
        )


def send_signal(process: Process, number: signal.Signals) -> None:
    """Send a signal to a process and its children; one that is gone hears nothing."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


async def end(process: Process) -> None:
    """Make a process go at once, with its children, and wait until it is gone."""
    if process.returncode is None:
        send_signal(process, signal.SIGKILL)
    await process.wait()
