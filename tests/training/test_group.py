"""Several processes that train one model, over gloo on this machine's CPU."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean

import pytest
import torch

from jobs.tokens_at_once import read_tokens_at_once
from jobs.training.corpus import Document
from jobs.training.group import Group
from jobs.training.process import PREEMPTED
from schemas.proof import Proof
from schemas.training import (
    CheckpointSaved,
    Noted,
    StepDone,
    TrainingDone,
    TrainingEvent,
    TrainingFailed,
    TrainingSpec,
    training_event,
)
from tests.polling import eventually
from tests.training.conftest import short_spec
from tests.training.test_process import Child

MakeSpec = Callable[..., TrainingSpec]
Start = Callable[[TrainingSpec], Child]
LAUNCHER = "jobs.training.launching"
TIGHT = """
import sys
from jobs.training.launching import main
sys.exit(main("tests.training.tight_member"))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start trainers, in as many processes as their specs say; end them all."""
    children: list[Child] = []

    def start_one(spec: TrainingSpec) -> Child:
        module = LAUNCHER if spec.n_processes > 1 else "jobs.training"
        children.append(Child(tmp_path / "trainer.log", module=module))
        children[-1].say(spec)
        return children[-1]

    yield start_one
    for child in children:
        child.close()


def documents(*lengths: int) -> list[Document]:
    return [Document(torch.zeros(n), torch.ones(n), n_trained=n) for n in lengths]


def test_shares_a_step_evenly_and_wholly():
    """Each document is one process's, and nobody has much more to do than another."""
    step = documents(100, 90, 50, 40, 30, 20, 10)
    shares = [Group(rank=rank, size=3).share(step) for rank in range(3)]
    assert sorted(id(d) for share in shares for d in share) == sorted(id(d) for d in step)
    tokens = [sum(map(len, share)) for share in shares]
    assert max(tokens) - min(tokens) <= 20


def test_leaves_a_process_without_a_document_where_there_are_too_few():
    """A step of one document keeps one of two processes busy."""
    step = documents(5)
    assert [Group(rank=rank, size=2).share(step) for rank in range(2)] == [step, []]


@pytest.fixture(scope="module")
def one(nano_dir: Path, files_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What a single process takes."""
    return taken(short_spec(nano_dir, files_dir, tmp_path_factory.mktemp("one")))


@pytest.mark.training
@pytest.mark.parametrize("is_sharded", [False, True], ids=["whole", "sharded"])
def test_two_processes_take_the_steps_of_one(one: dict, make_spec: MakeSpec, is_sharded):
    """In float32, losses and adapter are those of a single process, but for the order of sums."""
    two = taken(make_spec("two", n_processes=2, is_sharded=is_sharded))
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    # What is served is rounded to bfloat16: a weight a millionth apart may be rounded the other way, and a
    # token's log-probability is then up to a tenth apart. Sharded, it is multiplied in float32 even so.
    apart = [
        abs(ours - theirs)
        for left, right in zip(two["logprobs"], one["logprobs"], strict=True)
        for ours, theirs in zip(left, right, strict=True)
    ]
    assert max(apart) < 0.3
    assert mean(apart) < (0.1 if is_sharded else 0.01)
    # As a whole: AdamW makes a whole step of a gradient that is nothing but rounding.
    flat = [
        torch.cat([torch.tensor(w).flatten() for w in x["weights"].values()]) for x in (one, two)
    ]
    assert (flat[1] - flat[0]).norm() < 1e-2 * flat[0].norm()


@pytest.mark.training
@pytest.mark.parametrize(
    "is_sharded",
    [pytest.param(False, id="whole"), pytest.param(True, id="sharded")],
)
@pytest.mark.slow
def test_tells_and_writes_once(start: Start, make_spec: MakeSpec, is_sharded):
    """A run of two processes tells what a run of one does, once, and leaves the same files."""
    specs = make_spec("one"), make_spec("two", n_processes=2, is_sharded=is_sharded)
    one, two = (list(start(spec).events()) for spec in specs)
    assert [event.kind for event in two] == [event.kind for event in one]
    for left, right in zip(steps(one), steps(two), strict=True):
        assert right.train_loss == pytest.approx(left.train_loss, rel=0.03)
    for left, right in zip(proof(one).examples, proof(two).examples, strict=True):
        assert right.token_ids == left.token_ids
        assert right.base_logprobs == pytest.approx(left.base_logprobs, abs=1e-3)
    assert files(specs[1].work_dir) == files(specs[0].work_dir)


@pytest.mark.training
@pytest.mark.slow
def test_goes_on_alone_where_two_left_off(start: Start, make_spec: MakeSpec):
    """Asked to go, all members go after the same step; any number of processes can go on from there."""
    spec = make_spec("left", n_processes=2)
    child = start(spec)
    before = []
    for event in child.events():
        before.append(event)
        if isinstance(event, StepDone) and event.step == 2:
            child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(timeout=60) == PREEMPTED
    after = list(start(spec.model_copy(update={"n_processes": 1})).events())
    assert isinstance(after[-1], TrainingDone)
    seen = [step.step for step in steps(before) + steps(after)]
    assert sorted(set(seen)) == list(range(1, 10))
    assert after[0].resumed_at_step >= 2


@pytest.mark.training
@pytest.mark.slow
def test_dies_with_a_member(start: Start, make_spec: MakeSpec):
    """Where one member is killed, the others end, and the worker sees the signal that ended it."""
    child = start(make_spec("killed", n_processes=2, n_epochs=50))
    members: list[int] = []
    for event in child.events():
        assert not isinstance(event, TrainingFailed), "its end says nothing of the others"
        if isinstance(event, StepDone) and event.step == 2:
            members = member_pids(child.process.pid)
            os.kill(members[-1], signal.SIGKILL)
    assert child.process.wait(timeout=60) == -signal.SIGKILL
    assert len(members) >= 2
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in members))


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.parametrize("is_sharded", [False, True], ids=["whole", "sharded"])
def test_memory_that_ends_in_one_is_halved_for_all(make_spec: MakeSpec, is_sharded):
    """It tells so itself and is written down; where all must begin anew, they do with half, and lose nothing."""
    whole, _ = trained_tightly(make_spec("whole", n_processes=2, is_sharded=is_sharded), tokens=0)
    spec = make_spec("tight", n_processes=2, is_sharded=is_sharded)
    told, attempts = trained_tightly(spec, tokens=80)

    notes = [event for event in told if isinstance(event, Noted)]
    assert [note.level for note in notes] == ["warn"] * len(notes)
    assert notes[0].key.startswith("memory-")
    assert isinstance(told[-1], TrainingDone)
    kept = read_tokens_at_once(spec.work_dir)
    assert kept.tokens == min(int(note.key.removeprefix("memory-")) for note in notes) < 100
    assert (attempts > 1) == is_sharded
    ours, theirs = ({s.step: s.train_loss for s in steps(events)} for events in (told, whole))
    assert ours == pytest.approx(theirs, rel=0.03)


@pytest.mark.training
@pytest.mark.slow
def test_a_sharded_base_is_proven_as_it_is_served(make_spec: MakeSpec):
    """With the numbers that the engine will have, also where it is kept in others; then it is as it was."""
    served, before, changed = launched("tests.training.sharded_member", n_processes=2)
    assert served < 1e-6
    assert before > 1e-3, "rounding does something"
    assert changed == 0


def trained_tightly(spec: TrainingSpec, *, tokens: int) -> tuple[list[TrainingEvent], int]:
    """Train until a launcher's end is one, as a worker does; return what was told, and how often it began."""
    told: list[TrainingEvent] = []
    attempts = 0
    while attempts < 8:
        attempts += 1
        ended = subprocess.run(
            [sys.executable, "-c", TIGHT], env=os.environ | {"TIGHT": str(tokens)},
            input=spec.model_dump_json() + "\n", capture_output=True, text=True, check=False,
        )  # fmt: skip
        told += [training_event.validate_json(line) for line in ended.stdout.splitlines()]
        if ended.returncode != PREEMPTED:
            break
    return told, attempts


def member_pids(launcher: int) -> list[int]:
    """Return the living children of a process."""
    path = Path(f"/proc/{launcher}/task/{launcher}/children")
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def steps(events) -> list[StepDone]:
    return [event for event in events if isinstance(event, StepDone)]


def proof(events) -> Proof:
    final = [event for event in events if isinstance(event, CheckpointSaved)][-1].adapter_dir
    return Proof.model_validate_json((final / "proof.json").read_bytes())


def files(work_dir: Path) -> set[str]:
    return {str(path.relative_to(work_dir)) for path in work_dir.rglob("*")}


def taken(spec: TrainingSpec) -> dict:
    """Return what three steps and the proof gave, in as many processes as the spec says."""
    module = "tests.training.group_member"
    return launched(module, spec.model_dump_json(), n_processes=spec.n_processes)


def launched(module: str, *arguments: str, n_processes: int):
    """Run a module in so many processes under torchrun, and return what it prints as JSON."""
    torchrun = ["torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    launcher = [*torchrun, "-m"] if n_processes > 1 else []
    command = [sys.executable, "-m", *launcher, module, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)
