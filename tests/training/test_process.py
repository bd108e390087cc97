"""The trainer as its worker sees it: a child process that speaks JSON lines and may be killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jobs.training.model import WEIGHTS
from jobs.training.process import PREEMPTED
from schemas.training import (
    StepDone,
    TrainingDone,
    TrainingEvent,
    TrainingFailed,
    TrainingSpec,
    training_event,
)

pytestmark = pytest.mark.training

MakeSpec = Callable[..., TrainingSpec]
COMMAND = [sys.executable, "-m", "jobs.training"]


STAND_IN_WORKER = """
import subprocess, sys
log, *command = sys.argv[1:]
child = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=open(log, "w"))
child.stdin.write(sys.stdin.buffer.readline())
child.stdin.flush()
child.wait()
"""


class Child:
    """A running trainer."""

    def __init__(self, spec: TrainingSpec, log: Path) -> None:
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert self.process.stdin is not None
        self.process.stdin.write(spec.model_dump_json() + "\n")
        self.process.stdin.flush()

    def events(self) -> Iterator[TrainingEvent]:
        assert self.process.stdout is not None
        return (training_event.validate_json(line) for line in self.process.stdout)

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[TrainingSpec], Child]]:
    """Start trainers that are gone when the test ends."""
    children: list[Child] = []

    def start_one(spec: TrainingSpec) -> Child:
        children.append(Child(spec, tmp_path / "trainer.log"))
        return children[-1]

    yield start_one
    for child in children:
        child.close()


def comparable(events: list[TrainingEvent]) -> dict[int, StepDone]:
    return {
        e.step: e.model_copy(update={"seconds": 0.0}) for e in events if isinstance(e, StepDone)
    }


def test_kill_9_costs_nothing_but_time(make_spec: MakeSpec, start: Callable[..., Child]) -> None:
    """A trainer killed twice, midway, ends with the losses and adapter of one that never was."""
    whole = list(start(make_spec("whole")).events())
    told: list[TrainingEvent] = []
    for kill_at in (2, 6):
        child = start(make_spec())
        for event in child.events():
            told.append(event)
            if isinstance(event, StepDone) and event.step == kill_at:
                child.process.kill()
                break
        child.process.wait()
    told += start(make_spec()).events()

    assert isinstance(told[-1], TrainingDone)
    assert told[-1] == whole[-1]
    assert comparable(told) == comparable(whole)
    name = Path("checkpoints") / "step-9" / WEIGHTS
    ours, theirs = (load_file(make_spec(work).work_dir / name) for work in ("work", "whole"))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_sigterm_while_training(make_spec: MakeSpec, start: Callable[..., Child]) -> None:
    """SIGTERM ends the trainer after its step, with status 75, a resume point and no last word."""
    spec = make_spec(n_epochs=200, resume_every_seconds=1e9)
    child = start(spec)
    told: list[TrainingEvent] = []
    for event in child.events():
        told.append(event)
        if isinstance(event, StepDone) and event.step == 4:
            child.process.send_signal(signal.SIGTERM)

    assert child.process.wait() == PREEMPTED
    last = max(event.step for event in told if isinstance(event, StepDone))
    assert (spec.work_dir / "resume" / f"step-{last}" / "manifest.json").is_file()
    assert not any(isinstance(event, TrainingDone | TrainingFailed) for event in told)


def test_sigterm_before_training(make_spec: MakeSpec, start: Callable[..., Child]) -> None:
    """SIGTERM before the first step ends the trainer at once, with status 75."""
    child = start(make_spec())
    _wait_until_it_listens(child.process.pid)

    child.process.send_signal(signal.SIGTERM)

    assert child.process.wait(timeout=60) == PREEMPTED
    assert list(child.events()) == []


def test_it_dies_with_its_parent(make_spec: MakeSpec, tmp_path: Path) -> None:
    """A trainer whose worker is killed is killed by the kernel: its pipe closes."""
    spec = make_spec(n_epochs=100_000)
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            STAND_IN_WORKER,
            str(tmp_path / "trainer.log"),
            *COMMAND,
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(spec.model_dump_json() + "\n")
        parent.stdin.flush()
        parent.stdout.readline()

        parent.kill()

        # Ends only when nobody holds the pipe's other end: the trainer too is gone.
        for _ in parent.stdout:
            pass


def test_a_base_that_is_not_there(make_spec: MakeSpec, start: Callable[..., Child]) -> None:
    """A base that cannot be loaded is the trainer's last word, with a code."""
    child = start(make_spec(base_dir=Path("/nowhere/base")))

    (event,) = child.events()

    assert isinstance(event, TrainingFailed)
    assert event.code == "base_model_unusable"
    assert child.process.wait() == 1


def test_stdout_is_for_events_alone() -> None:
    """Whatever else prints, from Python or from C, goes to standard error."""
    code = (
        "import os, ctypes\n"
        "from jobs.training.process import claim_stdout\n"
        "events = claim_stdout()\n"
        "print('from Python', flush=True); os.write(1, b'from C\\n'); events.write('event\\n')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stdout == "event\n"
    assert ended.stderr == "from Python\nfrom C\n"


def test_nobody_listens() -> None:
    """A trainer whose worker is already gone goes too."""
    reader, writer = os.pipe()
    os.close(reader)
    code = "from jobs.training.process import claim_stdout\nclaim_stdout()\nprint('still here')"

    ended = subprocess.run(
        [sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False
    )
    os.close(writer)

    assert ended.returncode == PREEMPTED
    assert ended.stderr == b""


def _wait_until_it_listens(pid: int) -> None:
    """Return once SIGTERM has a handler of the process's own, as the kernel sees it."""
    mask = 1 << (signal.SIGTERM - 1)
    while True:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:") and int(line.split()[1], 16) & mask:
                return
