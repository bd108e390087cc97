"""How long a job takes beside its training: `python -m tests.bench.overhead [--base NAME …] [--runs N]`.

From `jobs.create` to the first answer of the tuned model, minus the optimizer steps themselves, with the engine
running and the proof included: once with a trainer that starts cold (the one that waits is killed first), and once
with one that waits. Wall time, so look at the smallest; CPU-seconds of all our processes stand beside it, because a
busy machine disturbs them less.
"""

import argparse
import os
import platform
import re
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Self

from openai import OpenAI

from tests.e2e.journey import ENDS, ask, create_job, demo_lines
from tests.e2e.server import Server, command_line, descendants, running_server, wait_for
from tests.servers import private_directory

TARGETS = {"cold": 15.0, "warm": 2.0}
"""Seconds."""
ROLES = {
    "-m jobs.training": "trainer",
    "--only worker": "worker",
    "--only api": "api",
    "vllm": "engine",
    "VLLM": "engine",
}
LOOK_EVERY = 0.02
ASK_EVERY = 0.05
"""Seconds: each question costs the server milliseconds, which are measured too."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Phase:
    """A part of a job's way."""

    name: str
    seconds: float
    cpu_seconds: dict[str, float]
    """By what spent them: trainer, engine, worker, API."""


@dataclass(frozen=True)
class Measured:
    """One job, in seconds."""

    phases: list[Phase]
    step_seconds: float

    @property
    def overhead(self) -> float:
        return sum(phase.seconds for phase in self.phases) - self.step_seconds


class CpuClock:
    """What each kind of process below a server has used of the processor, over time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._used: dict[int, tuple[str, float]] = {}
        self._history: list[tuple[float, dict[str, float]]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def between(self, begin: float, end: float) -> dict[str, float]:
        """CPU-seconds by role between two times of `time.time()`."""
        first, last = self._at(begin), self._at(end)
        return {role: last[role] - first.get(role, 0.0) for role in last}

    def _at(self, moment: float) -> dict[str, float]:
        return next((used for at, used in self._history if at >= moment), self._history[-1][1])

    def _run(self) -> None:
        while not self._over.wait(LOOK_EVERY):
            for pid in descendants(self._server.process.pid):
                with suppress(OSError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    role = self._used[pid][0] if pid in self._used else role_of(pid)
                    self._used[pid] = role, (int(fields[11]) + int(fields[12])) / TICKS
            sums = dict.fromkeys([*ROLES.values(), "other"], 0.0)
            for role, seconds in self._used.values():
                sums[role] += seconds
            self._history.append((time.time(), sums))


def role_of(pid: int) -> str:
    line = command_line(pid)
    return next((role for words, role in ROLES.items() if words in line), "other")


def measure(server: Server, client: OpenAI, base: str) -> Measured:
    """Run one short job."""
    with CpuClock(server) as clock:
        marks = [("", time.time())]

        def mark(name: str, at: float | None = None) -> None:
            marks.append((name, at or time.time()))

        job = create_job(
            client,
            base=base,
            examples=demo_lines("train.jsonl")[:40],
            hyperparameters={"n_epochs": 1, "batch_size": 8},
        )
        mark("upload and create")
        while job.status not in ENDS:
            time.sleep(ASK_EVERY)
            job = client.fine_tuning.jobs.retrieve(job.id)
        assert job.status == "succeeded", job.error
        mark("proof in the engine, and publication")
        ask(client, job.fine_tuned_model, "My card is gone")
        mark("first answer")
        time.sleep(2 * LOOK_EVERY)
    marks += trainer_marks(server, job.id)
    marks.sort(key=lambda mark: mark[1])
    listed = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    seconds = sum(event.data["seconds"] for event in listed if event.type == "metrics")
    return Measured(
        phases=[
            Phase(name, end - begin, clock.between(begin, end))
            for (_, begin), (name, end) in pairwise(marks)
        ],
        step_seconds=seconds,
    )


def trainer_marks(server: Server, job_id: str) -> list[tuple[str, float]]:
    """When the trainer got its job, was ready for the first step and had trained, as the worker's log tells."""
    log = server.log_path.read_text()

    def times(words: str) -> list[float]:
        return [moment(at) for at in re.findall(rf"^(\S+ \S+) .* {words}", log, re.MULTILINE)]

    (ready,), (trained,) = (
        times(f"trainer ready: job_id={job_id}"),
        times(f"trained: job_id={job_id}"),
    )
    return [
        ("validation and claim", max(at for at in times("trainer started: ") if at < ready)),
        ("trainer: libraries, base, adapter, rows", ready),
        ("trainer: steps, resume point, adapter, its side of the proof", trained),
    ]


def moment(written: str) -> float:
    return datetime.strptime(written, "%Y-%m-%d %H:%M:%S,%f").astimezone().timestamp()


def kill_spare(server: Server) -> None:
    """Let the next job start cold."""
    for pid in server.pids("-m jobs.training"):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not server.pids("-m jobs.training"), seconds=30, what="no trainer")


def wait_until_warm(server: Server) -> None:
    """Wait until a trainer waits with everything loaded."""
    log = server.data_dir / "logs" / "spare-trainer.log"

    def is_warm() -> bool:
        told = log.read_text() if log.exists() else ""
        return any(f"warmed up: pid={pid} " in told for pid in server.pids("-m jobs.training"))

    wait_for(is_warm, seconds=300, what="a warm trainer")


def show(measured: Measured, kind: str) -> None:
    print(f"  {'seconds':>9} {'CPU-s':>7}  phase ({kind})")
    for phase in measured.phases:
        spent = {role: used for role, used in phase.cpu_seconds.items() if used >= 0.02}
        detail = ", ".join(f"{role} {used:.2f}" for role, used in spent.items())
        total = sum(phase.cpu_seconds.values())
        print(f"  {phase.seconds:9.2f} {total:7.2f}  {phase.name}  [{detail}]")
    print(f"  {-measured.step_seconds:9.2f} {'':7}  the optimizer steps themselves", flush=True)


def machine() -> str:
    """The processor, its load, and the versions that matter."""
    names = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
    return (
        f"{len(names)} x {names[0]}, load {os.getloadavg()[0]:.1f}; "
        f"Python {platform.python_version()}, {versions}"
    )


def bench(server: Server, base: str, *, runs: int) -> None:
    client = server.client()
    ask(client, base, "Hello")  # the engine is up from here on
    best: dict[str, Measured] = {}
    for kind in ("cold", "warm"):
        for _ in range(runs):
            kill_spare(server) if kind == "cold" else wait_until_warm(server)
            measured = measure(server, client, base)
            print(f"{base}, {kind}: overhead {measured.overhead:.1f} s", flush=True)
            best[kind] = min(best.get(kind, measured), measured, key=lambda m: m.overhead)
    for kind, measured in best.items():
        print(
            f"\n{base}, {kind}: smallest overhead {measured.overhead:.1f} s, target {TARGETS[kind]:.0f} s"
        )
        show(measured, kind)
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", nargs="+", default=["smollm2-135m", "retune-nano"])
    parser.add_argument("--runs", type=int, default=3, help="of each kind (default: %(default)s)")
    options = parser.parse_args()
    print(machine())
    with (
        private_directory("retune-bench-") as directory,
        running_server(directory / "data") as server,
    ):
        for base in options.base:
            bench(server, base, runs=options.runs)
    print(machine())


if __name__ == "__main__":
    main()
