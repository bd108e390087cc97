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
from schemas.base import Schema
from schemas.training import (
    HandOver,
    StepDone,
    TrainingDone,
    TrainingEvent,
    TrainingFailed,
    TrainingSpec,
    WarmUp,
    training_event,
)
from tests.polling import eventually

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

    def __init__(self, log: Path, *arguments: str, module: str = "jobs.training") -> None:
        with log.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )

    def say(self, line: Schema) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line.model_dump_json() + "\n")
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
        children.append(Child(tmp_path / "trainer.log"))
        children[-1].say(spec)
        return children[-1]

    yield start_one
    for child in children:
        child.close()


@pytest.fixture
def start_spare(tmp_path: Path) -> Iterator[Callable[[TrainingSpec], Child]]:
    """Start trainers that have warmed up for a spec's base, and are gone when the test ends."""
    children: list[Child] = []

    def start_one(spec: TrainingSpec) -> Child:
        log = tmp_path / f"spare-{len(children)}.log"
        child = Child(log, "--spare")
        children.append(child)
        child.say(
            WarmUp(base_dir=spec.base_dir, base_digest=spec.base_digest, n_threads=spec.n_threads)
        )
        eventually(lambda: "warmed up" in log.read_text(), seconds=60)
        return child

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

    ended, undisturbed = told[-1], whole[-1]
    assert isinstance(ended, TrainingDone)
    assert isinstance(undisturbed, TrainingDone)
    assert ended.trained_tokens == undisturbed.trained_tokens
    assert ended.loss_tokens == undisturbed.loss_tokens
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


def test_a_warm_trainer_trains_as_a_cold_one(
    make_spec: MakeSpec, start: Callable[..., Child], start_spare: Callable[..., Child]
) -> None:
    """What was loaded ahead leaves no trace: losses, adapter and proof are equal to the last bit."""
    cold, warm = make_spec("cold"), make_spec("warm")
    told_cold = list(start(cold).events())
    spare = start_spare(warm)
    warm.work_dir.mkdir(parents=True)
    spare.say(HandOver(spec=warm, log_path=warm.work_dir / "trainer.log"))
    told_warm = list(spare.events())

    assert isinstance(told_warm[-1], TrainingDone)
    assert comparable(told_warm) == comparable(told_cold)
    for name in (WEIGHTS, "adapter_config.json", "proof.json"):
        ours, theirs = (spec.work_dir / "checkpoints/step-9" / name for spec in (warm, cold))
        assert ours.read_bytes() == theirs.read_bytes()
    assert "rendered: examples=11" in (warm.work_dir / "trainer.log").read_text()


def test_a_spare_trainer_is_the_first_to_go(
    make_spec: MakeSpec, start_spare: Callable[..., Child]
) -> None:
    """While it waits the kernel kills it before others; with a job it is as any other."""
    usual = Path("/proc/self/oom_score_adj").read_text()
    spec = make_spec(n_epochs=100_000)
    spare = start_spare(spec)
    score = Path(f"/proc/{spare.process.pid}/oom_score_adj")
    assert score.read_text() == "1000\n"

    spec.work_dir.mkdir(parents=True)
    spare.say(HandOver(spec=spec, log_path=spec.work_dir / "trainer.log"))
    next(spare.events())
    assert score.read_text() == usual


def test_a_spare_trainer_without_a_job_goes(
    make_spec: MakeSpec, start_spare: Callable[..., Child]
) -> None:
    """Its worker closes the pipe and it ends with 0; SIGTERM ends it at once, with status 75."""
    spare, other = start_spare(make_spec()), start_spare(make_spec())
    assert spare.process.stdin is not None
    spare.process.stdin.close()
    assert spare.process.wait(timeout=60) == 0
    other.process.send_signal(signal.SIGTERM)
    assert other.process.wait(timeout=60) == PREEMPTED


def test_a_base_that_cannot_be_loaded_ahead(
    make_spec: MakeSpec, start_spare: Callable[..., Child], tmp_path: Path
) -> None:
    """It is the job that fails of it, in the words that a cold one has for it."""
    spec = make_spec(base_dir=tmp_path / "nowhere", work_dir=tmp_path)
    spare = start_spare(spec)
    spare.say(HandOver(spec=spec, log_path=tmp_path / "trainer.log"))

    (event,) = spare.events()

    assert isinstance(event, TrainingFailed)
    assert event.code == "base_model_unusable"
    assert spare.process.wait() == 1


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


def test_a_log_that_changes_takes_what_was_printed_too(tmp_path: Path) -> None:
    """Once a spare trainer has a job, what prints to standard output is in that job's log."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from jobs.training.process import claim_stdout, redirect_stderr\n"
        "events = claim_stdout(); redirect_stderr(Path(sys.argv[1]))\n"
        "os.write(1, b'printed\\n'); os.write(2, b'logged\\n'); events.write('event\\n')"
    )
    log = tmp_path / "trainer.log"
    ended = subprocess.run(
        [sys.executable, "-c", code, str(log)], capture_output=True, text=True, check=True
    )

    assert (ended.stdout, ended.stderr) == ("event\n", "")
    assert log.read_text() == "printed\nlogged\n"


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
