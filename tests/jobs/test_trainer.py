"""Training as a child process: what it says, how it dies, that it never outlives its block."""

import os

import pytest

from jobs.memory_kills import MemoryKills
from jobs.trainer import TrainerDied, TrainerLeft, TrainerOutOfMemory, start_trainer
from schemas.training import StepDone, TrainingDone, TrainingFailed, TrainingSpec


def spec(directory, behaviour):
    return TrainingSpec(
        base_dir=directory,
        base_name=behaviour,
        training_path=directory / "train.jsonl",
        work_dir=directory,
        n_epochs=1,
        batch_size=1,
        learning_rate=0.1,
        seed=1,
        context_length=64,
    )


def trainer(directory, behaviour):
    return start_trainer(
        spec(directory, behaviour),
        log_path=directory / "trainer.log",
        module="tests.stand_in_trainer",
    )


async def test_a_good_run_ends_with_its_totals(tmp_path):
    """Every event arrives, in order, and the last is done."""
    async with trainer(tmp_path, "good") as running:
        told = [event async for event in running.events()]
    assert [e.step for e in told if isinstance(e, StepDone)] == [1, 2, 3]
    assert isinstance(told[-1], TrainingDone)


async def test_a_failure_is_told_not_raised(tmp_path):
    """What the trainer says of its end is the end."""
    async with trainer(tmp_path, "failing") as running:
        told = [event async for event in running.events()]
    assert told[-1] == TrainingFailed(code="diverged", message="The loss is no number.")


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ("killed", "ended by signal 9"),
        ("silent", "ended with status 0 without a result"),
        ("garbled", "wrote what is no event"),
    ],
)
async def test_an_end_without_a_word_is_told_apart(tmp_path, behaviour, words):
    """Killed, silent or garbled: the trainer died, and how is in the message."""
    async with trainer(tmp_path, behaviour) as running:
        with pytest.raises(TrainerDied, match=words):
            async for _ in running.events():
                pass


@pytest.mark.parametrize(("kills", "error"), [([0, 1], TrainerOutOfMemory), ([4, 4], TrainerDied)])
async def test_a_kill_for_memory_is_known(tmp_path, kills, error):
    """A trainer that is killed while the kernel ends processes for memory was one of them, else not."""
    counted = iter(kills)
    async with start_trainer(
        spec(tmp_path, "killed"),
        log_path=tmp_path / "trainer.log",
        module="tests.stand_in_trainer",
        memory_kills=MemoryKills(lambda: next(counted)),
    ) as running:
        with pytest.raises(TrainerDied) as died:
            async for _ in running.events():
                pass
    assert type(died.value) is error


async def first_step(running):
    async for event in running.events():
        if isinstance(event, StepDone):
            return


async def test_leaving_the_block_ends_the_trainer(tmp_path):
    """However its block is left, the process is gone."""
    async with trainer(tmp_path, "endless") as running:
        await first_step(running)
        pid = running.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_trainer_that_is_asked_to_stop_may_save(tmp_path):
    """SIGTERM comes first, and what it saves in time is there."""
    async with trainer(tmp_path, "saving") as running:
        async for event in running.events():
            if isinstance(event, StepDone) and event.step == 2:
                break
        await running.stop(grace=10)
    assert (tmp_path / "saved").exists()


async def test_the_trainer_sees_no_secret(tmp_path, monkeypatch):
    """Its environment holds what it needs, not keys and databases."""
    monkeypatch.setenv("RETUNE_DATABASE_URL", "postgresql://secret")
    monkeypatch.setenv("RETUNE_API_KEY", "secret")
    async with trainer(tmp_path, "endless") as running:
        await first_step(running)
        with open(f"/proc/{running.pid}/environ", "rb") as environ:  # noqa: ASYNC230, PTH123 - /proc never blocks
            assert b"secret" not in environ.read()


async def test_a_trainer_that_is_asked_to_go_is_asked_once(tmp_path):
    """It leaves in its own time, which is no failure; asking again does not disturb its end."""
    async with trainer(tmp_path, "saving") as running:
        with pytest.raises(TrainerLeft):
            async for event in running.events():
                if isinstance(event, StepDone) and event.step == 2:
                    running.ask_to_go()
                    running.ask_to_go()
    assert (tmp_path / "saved").exists()
