"""What was told is told again to a worker that does not know it."""

from pathlib import Path

import pytest

from jobs.training.journal import Journal
from schemas.training import BestSaved, CheckpointSaved, Noted, StepDone, TrainingDone


def step(number):
    return StepDone(
        step=number,
        total_steps=9,
        train_loss=1 / number,
        train_mean_token_accuracy=0.5,
        learning_rate=0.1,
        grad_norm=1.0,
        tokens=10,
        seconds=0.25,
    )


NOTED = Noted(step=2, key="memory-512", message="Memory ran out.", level="warn")
BEST = BestSaved(step=3, adapter_dir=Path("checkpoints/step-3"), valid_loss=0.5)
SAVED = CheckpointSaved(step=3, epoch=1, adapter_dir=Path("checkpoints/step-3"))


@pytest.fixture
def path(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl", reported_step=0)
    for event in (
        step(1),
        NOTED,
        step(2),
        step(3),
        SAVED,
        step(4),
        TrainingDone(trained_tokens=1, loss_tokens=1),
    ):
        journal.add(event)
    return tmp_path / "journal.jsonl"


def test_what_the_worker_knows_is_not_told_again(path):
    """Steps after its last are; checkpoints and notes always, for it knows which it has."""
    assert Journal(path, reported_step=3).rewind(to_step=4) == [NOTED, SAVED, step(4)]


def test_what_lies_after_the_resume_point_is_forgotten(path):
    """Those steps are trained again, and told then; what memory taught is not learned again, and stays."""
    assert Journal(path, reported_step=0).rewind(to_step=1) == [step(1), NOTED]
    assert Journal(path, reported_step=0).rewind(to_step=9) == [step(1), NOTED]


def test_the_best_so_far_is_told_again(path):
    """The worker that takes over must know it, whatever it has recorded."""
    Journal(path, reported_step=0).add(BEST)
    assert Journal(path, reported_step=4).rewind(to_step=4) == [NOTED, SAVED, BEST]
    assert Journal(path, reported_step=4).rewind(to_step=2) == [NOTED]


def test_an_open_step_is_told_anew(path):
    """Its own numbers are forgotten, what was noted during it stays."""
    assert Journal(path, reported_step=0).rewind(to_step=2, is_open=True) == [step(1), NOTED]


def test_a_fresh_start_forgets_every_step(path):
    """Without a resume point nothing was trained; a second look finds what the first one left."""
    assert Journal(path, reported_step=0).rewind(to_step=0) == [NOTED]
    assert Journal(path, reported_step=0).rewind(to_step=9) == [NOTED]


def test_a_line_cut_short_ends_the_journal(path):
    """The process was killed while it wrote: what came before counts."""
    path.write_bytes(path.read_bytes()[:-20])
    assert Journal(path, reported_step=0).rewind(to_step=9) == [
        step(1), NOTED, step(2), step(3), SAVED
    ]  # fmt: skip


def test_a_run_without_a_journal_has_nothing_to_tell(tmp_path):
    """The first start makes it."""
    assert Journal(tmp_path / "journal.jsonl", reported_step=0).rewind(to_step=0) == []
