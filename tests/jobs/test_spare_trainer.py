"""The trainer that waits: which job it takes, when it goes, and that it never outlives its worker."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from jobs.memory_left import memory_left
from jobs.spare_trainer import SpareTrainer
from jobs.trainer import start_trainer
from schemas.training import StepDone, TrainingDone, TrainingSpec, WarmUp

STAND_IN = "tests.stand_in_trainer"


@pytest.fixture
def base_dir(tmp_path):
    """A base, as far as anybody looks at it here."""
    directory = tmp_path / "base"
    directory.mkdir()
    (directory / "config.json").write_text("{}")
    return directory


@pytest.fixture
def warm_up(base_dir):
    return WarmUp(base_dir=base_dir, base_digest="d", n_threads=1)


@pytest.fixture
async def spare(tmp_path):
    """A keeper of a stand-in, which is gone when the test ends."""
    keeper = SpareTrainer(tmp_path / "logs" / "spare.log", module=STAND_IN)
    yield keeper
    await keeper.close()


def spec(warm_up, behaviour="good", **changes):
    directory = warm_up.base_dir.parent
    return TrainingSpec(
        base_dir=warm_up.base_dir,
        base_name=behaviour,
        base_digest=warm_up.base_digest,
        training_path=directory / "train.jsonl",
        work_dir=directory,
        n_epochs=1,
        batch_size=1,
        learning_rate=0.1,
        seed=1,
        context_length=64,
        n_threads=warm_up.n_threads,
    ).model_copy(update=changes)


@asynccontextmanager
async def trainer(spare, training_spec):
    log_path = training_spec.work_dir / "trainer.log"
    async with start_trainer(
        training_spec, log_path=log_path, module=STAND_IN, spare=spare
    ) as running:
        yield running


def is_gone(pid):
    """Whether a process is no more; a zombie is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


async def gone(pid):
    """Wait until a process is no more."""
    async with asyncio.timeout(20):
        while not is_gone(pid):
            await asyncio.sleep(0.01)


async def test_a_job_that_fits_is_trained_by_the_one_that_waits(spare, warm_up):
    """Its process is the spare's; it tells what any trainer tells, and there is no spare any more."""
    await spare.prepare(warm_up)
    waiting = spare.pid
    async with trainer(spare, spec(warm_up)) as running:
        assert running.pid == waiting
        assert spare.pid is None
        told = [event async for event in running.events()]
    assert [e.step for e in told if isinstance(e, StepDone)] == [1, 2, 3]
    assert isinstance(told[-1], TrainingDone)


@pytest.mark.parametrize(
    "changes", [{"base_digest": "another"}, {"n_threads": 2}], ids=["base", "threads"]
)
async def test_a_job_that_does_not_fit_starts_cold(spare, warm_up, changes):
    """Another trainer takes it, and the spare gives its memory back."""
    await spare.prepare(warm_up)
    waiting = spare.pid
    async with trainer(spare, spec(warm_up, **changes)) as running:
        assert running.pid != waiting
        assert isinstance([event async for event in running.events()][-1], TrainingDone)
    await gone(waiting)
    assert spare.pid is None


async def test_another_environment_starts_cold(spare, warm_up, monkeypatch):
    """Which device is seen, say, is decided when libraries are loaded."""
    await spare.prepare(warm_up)
    waiting = spare.pid
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    async with trainer(spare, spec(warm_up)) as running:
        assert running.pid != waiting
    await gone(waiting)


async def test_a_base_that_changed_starts_cold(spare, warm_up):
    """What was loaded is not what a new trainer would load."""
    await spare.prepare(warm_up)
    waiting = spare.pid
    (warm_up.base_dir / "config.json").write_text('{"other": 1}')
    async with trainer(spare, spec(warm_up)) as running:
        assert running.pid != waiting
    await gone(waiting)


async def test_a_spare_that_died_is_noticed(spare, warm_up):
    """Kill -9 costs its warmth alone: the job starts cold."""
    await spare.prepare(warm_up)
    waiting = spare.pid
    os.kill(waiting, signal.SIGKILL)
    async with asyncio.timeout(20):
        while spare.pid is not None:
            await asyncio.sleep(0.01)
    async with trainer(spare, spec(warm_up)) as running:
        assert running.pid != waiting
        assert isinstance([event async for event in running.events()][-1], TrainingDone)


async def test_one_is_enough(spare, warm_up):
    """Asking again, or twice at once, starts no second one; for another base it is replaced."""
    await asyncio.gather(spare.prepare(warm_up), spare.prepare(warm_up))
    waiting = spare.pid
    await spare.prepare(warm_up)
    assert spare.pid == waiting
    await spare.prepare(warm_up.model_copy(update={"base_digest": "another"}))
    assert spare.pid not in {None, waiting}
    await gone(waiting)


async def test_a_job_that_may_never_train_takes_nobodys_place(spare, warm_up, tmp_path):
    """While its files are looked at, a spare of another base stays; where none waits, or a dead one, it gets its own."""
    other = warm_up.model_copy(update={"base_digest": "another"})
    await spare.prepare(warm_up)
    waiting = spare.pid
    await spare.prepare_if_none_waits(other)
    assert spare.pid == waiting
    os.kill(waiting, signal.SIGKILL)
    async with asyncio.timeout(20):
        while spare.pid is not None:
            await asyncio.sleep(0.01)
    await spare.prepare_if_none_waits(other)
    assert spare.pid not in {None, waiting}
    async with trainer(spare, spec(other)) as running:
        assert spare.pid is None
        assert [event async for event in running.events()]


async def test_the_second_of_two_jobs_at_once_starts_cold(spare, warm_up):
    """A spare trains one job."""
    await spare.prepare(warm_up)
    async with (
        trainer(spare, spec(warm_up, "endless")) as first,
        trainer(spare, spec(warm_up)) as second,
    ):
        assert first.pid != second.pid
        assert isinstance([event async for event in second.events()][-1], TrainingDone)


async def test_it_goes_when_its_base_is_taken_away(spare, warm_up):
    """It is looked after while it waits: what nobody can use holds no memory."""
    await spare.prepare(warm_up)
    waiting = spare.pid
    await spare.look_after()
    assert spare.pid == waiting
    (warm_up.base_dir / "config.json").unlink()
    await spare.look_after()
    await gone(waiting)
    assert spare.pid is None


async def test_none_where_none_is_wanted(tmp_path, warm_up):
    """With the setting off nothing is started."""
    keeper = SpareTrainer(tmp_path / "spare.log", is_wanted=False, module=STAND_IN)
    await keeper.prepare(warm_up)
    assert keeper.pid is None
    assert not (tmp_path / "spare.log").exists()


async def test_none_where_memory_is_short(spare, warm_up):
    """A base that would not leave room for others is not loaded ahead."""
    with (warm_up.base_dir / "model.safetensors").open("wb") as weights:
        weights.truncate(10**13)  # nothing but a size
    await spare.prepare(warm_up)
    assert spare.pid is None


async def test_it_goes_with_its_watch(spare, warm_up):
    """A worker that stops leaves none behind, and starts none while it does."""
    watch = asyncio.create_task(spare.watch())
    await spare.prepare(warm_up)
    waiting = spare.pid
    watch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watch
    await gone(waiting)
    await spare.prepare(warm_up)
    assert spare.pid is None


async def test_it_sees_no_secret(spare, warm_up, monkeypatch):
    """Its environment is a trainer's."""
    monkeypatch.setenv("RETUNE_API_KEY", "secret")
    await spare.prepare(warm_up)
    with open(f"/proc/{spare.pid}/environ", "rb") as environ:  # noqa: ASYNC230, PTH123 - /proc never blocks
        assert b"secret" not in environ.read()


WORKER = """
import asyncio, sys
from pathlib import Path
from jobs.spare_trainer import SpareTrainer
from schemas.training import WarmUp

async def main():
    keeper = SpareTrainer(Path(sys.argv[1]))
    await keeper.prepare(WarmUp.model_validate_json(sys.argv[2]))
    print(keeper.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


async def test_it_dies_with_its_worker(tmp_path, warm_up):
    """Kill -9 of the worker: the real one, too, is gone, wherever it was in its warming up."""
    worker = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WORKER, str(tmp_path / "spare.log"), warm_up.model_dump_json()),
        stdout=subprocess.PIPE,
    )
    waiting = int(await worker.stdout.readline())
    worker.kill()
    await worker.wait()
    await gone(waiting)


def test_memory_is_what_the_machine_and_the_container_leave(tmp_path):
    """The smaller of the two; a container without a limit leaves what the machine has."""
    assert memory_left(tmp_path) is None
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    2000 kB\n")
    assert memory_left(tmp_path) == 2000 * 1024
    group = tmp_path / "sys" / "fs" / "cgroup"
    group.mkdir(parents=True)
    (group / "memory.max").write_text("max\n")
    (group / "memory.current").write_text("700000\n")
    assert memory_left(tmp_path) == 2000 * 1024
    (group / "memory.max").write_text("1000000\n")
    assert memory_left(tmp_path) == 300_000
    (group / "memory.stat").write_text("anon 600000\ninactive_file 50000\n")
    assert memory_left(tmp_path) == 350_000
