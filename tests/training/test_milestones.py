"""Which model a run ends with, when it stops early, and that no kill changes either: on the tiny base."""

import hashlib
import json
import math
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from jobs.training.loop import train
from jobs.training.model import CONFIG, WEIGHTS
from jobs.training.process import Preemption
from jobs.training.resuming import Manifest
from schemas.errors import JobFailure
from schemas.fine_tuning import EarlyStopping
from schemas.proof import Proof
from schemas.rendering import RENDERING
from schemas.training import (
    AdapterSaved,
    BestSaved,
    CheckpointSaved,
    LoraSpec,
    ModelChosen,
    Noted,
    OptimizerSpec,
    StepDone,
    TrainingDone,
    TrainingEvent,
    TrainingSpec,
)
from tests.training.conftest import ANSWERS, short_spec, write_examples

pytestmark = pytest.mark.training


class Killed(BaseException):
    """The process is gone; nobody catches this."""


def run(spec: TrainingSpec, *, kill_at: int | None = None) -> list[TrainingEvent]:
    """Train; or die in telling of the event at that place, as far as the disk is concerned."""
    told: list[TrainingEvent] = []

    def emit(event: TrainingEvent) -> None:
        if len(told) == kill_at:
            raise Killed
        told.append(event)

    try:
        train(spec, emit=emit, preemption=Preemption())
    except Killed:
        assert kill_at is not None
    return told


def of_kind(events: list[TrainingEvent], kind: type) -> list:
    return [event for event in events if isinstance(event, kind)]


def comparable(events: list[TrainingEvent]) -> dict[int, StepDone]:
    """Return the steps without their wall time, which is never the same."""
    return {e.step: e.model_copy(update={"seconds": 0.0}) for e in of_kind(events, StepDone)}


def contradict(path: Path) -> Path:
    """Write validation examples that are answered otherwise than training's.

    First to write codes at all is a gain, then to be sure of those that were trained is a loss.
    """
    write_examples(path, 6)
    codes = list(ANSWERS.values())
    examples = [json.loads(line) for line in path.read_text().splitlines()]
    for place, example in enumerate(examples):
        example["messages"][-1]["content"] = f"{codes[place % 3 - 1]} {codes[place % 3]}"
    path.write_text("".join(json.dumps(example) + "\n" for example in examples))
    return path


@pytest.fixture(scope="module")
def overfit(
    nano_dir: Path, files_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> TrainingSpec:
    """The short run with 8 epochs, a high rate, and validation examples that contradict."""
    directory = tmp_path_factory.mktemp("overfit")
    spec = short_spec(nano_dir, files_dir, directory / "work")
    return spec.model_copy(
        update={
            "n_epochs": 8,
            "learning_rate": 1e-2,
            "lora": LoraSpec(rank=4, alpha=8),
            "validation_path": contradict(directory / "contradicting.jsonl"),
        }
    )


@pytest.fixture(scope="module")
def whole(overfit: TrainingSpec) -> list[TrainingEvent]:
    """What it tells, undisturbed."""
    return run(overfit)


def stopping(overfit: TrainingSpec, work_dir: Path, *, patience: int = 2) -> TrainingSpec:
    asked = EarlyStopping(patience=patience, min_gain=0.0)
    return overfit.model_copy(update={"work_dir": work_dir, "early_stopping": asked})


@pytest.fixture(scope="module")
def stopped(overfit: TrainingSpec, tmp_path_factory: pytest.TempPathFactory) -> list[TrainingEvent]:
    """What it tells where it may stop early, undisturbed."""
    return run(stopping(overfit, tmp_path_factory.mktemp("stopped") / "work"))


def losses(events: list[TrainingEvent]) -> dict[int, float]:
    return {
        step.step: step.full_valid_loss
        for step in of_kind(events, StepDone)
        if step.full_valid_loss is not None
    }


def test_the_best_model_wins(whole: list[TrainingEvent]) -> None:
    """Not the last: the one with the lowest loss on the whole validation file, and why is told."""
    measured = losses(whole)
    (chosen,) = of_kind(whole, ModelChosen)

    assert chosen.step == min(measured, key=measured.__getitem__) < 24
    assert (
        f"{measured[chosen.step]:.4f} at step {chosen.step}, is the lowest of 8" in chosen.message
    )
    assert f"after step 24 it was {measured[24]:.4f}" in chosen.message
    assert [event.kind for event in whole[-2:]] == ["chosen", "done"]


def test_adapter_proof_and_numbers_belong_together(whole: list[TrainingEvent]) -> None:
    """The final adapter is the checkpoint of its step, with the proof that was taken there."""
    (chosen,) = of_kind(whole, ModelChosen)
    (saved,) = [e for e in of_kind(whole, CheckpointSaved) if e.step == chosen.step]
    proof = Proof.model_validate_json((chosen.adapter_dir / "proof.json").read_bytes())

    assert chosen.adapter_dir == saved.adapter_dir
    assert [e.epoch for e in of_kind(whole, CheckpointSaved)] == [*range(1, 9)]
    last = chosen.adapter_dir.with_name("step-24") / "proof.json"
    assert proof != Proof.model_validate_json(last.read_bytes())


def test_early_stopping_ends_where_nothing_is_gained(
    whole: list[TrainingEvent], stopped: list[TrainingEvent]
) -> None:
    """Two measurements after the best it stops, with the same model, and counts what it has read."""
    (chosen,), (best,) = of_kind(stopped, ModelChosen), of_kind(whole, ModelChosen)
    (note,) = of_kind(stopped, Noted)
    (done,) = of_kind(stopped, TrainingDone)

    steps = comparable(stopped)
    assert chosen.step == best.step
    assert len(steps) == best.step + 2 * 3 < 24
    assert steps == {step: comparable(whole)[step] for step in steps}
    assert note.key == "early-stop"
    assert f"Stopped after step {len(steps)} of 24" in note.message
    assert done.trained_tokens == sum(step.tokens for step in steps.values())


def test_patience_that_lasts_changes_nothing(
    overfit: TrainingSpec, whole: list[TrainingEvent], tmp_path: Path
) -> None:
    """A run that may wait to its end takes every step."""
    events = run(stopping(overfit, tmp_path / "work", patience=8))

    assert comparable(events) == comparable(whole)
    assert not of_kind(events, Noted)


def killed_and_resumed(spec: TrainingSpec, *, kill_at: int) -> list[TrainingEvent]:
    """Return what a worker knows that saw one trainer die and another take over."""
    before = run(spec, kill_at=kill_at)
    reported = max((step.step for step in of_kind(before, StepDone)), default=0)
    return before + run(spec.model_copy(update={"reported_step": reported}))


def assert_same(resumed: list[TrainingEvent], undisturbed: list[TrainingEvent]) -> None:
    assert comparable(resumed) == comparable(undisturbed)
    saved = [
        {e.step: e.epoch for e in of_kind(es, CheckpointSaved)} for es in (resumed, undisturbed)
    ]
    assert saved[0] == saved[1]
    ours, theirs = (of_kind(events, ModelChosen)[-1] for events in (resumed, undisturbed))
    assert (ours.step, ours.message) == (theirs.step, theirs.message)
    tuned, expected = (load_file(each.adapter_dir / WEIGHTS) for each in (ours, theirs))
    assert all(torch.equal(tuned[name], expected[name]) for name in expected)
    proofs = [(each.adapter_dir / "proof.json").read_bytes() for each in (ours, theirs)]
    assert proofs[0] == proofs[1]
    totals = [of_kind(events, TrainingDone)[-1].trained_tokens for events in (resumed, undisturbed)]
    assert totals[0] == totals[1]


@pytest.mark.parametrize("told", ["its numbers", "its checkpoint", "the choice"])
def test_a_kill_changes_nothing(
    overfit: TrainingSpec, stopped: list[TrainingEvent], tmp_path: Path, told: str
) -> None:
    """Killed as the best is told, as it is saved, or at the end: the same choice, to the bit."""
    (chosen,) = of_kind(stopped, ModelChosen)
    kind = {"its numbers": StepDone, "its checkpoint": CheckpointSaved, "the choice": ModelChosen}
    place = next(
        place
        for place, event in enumerate(stopped)
        if isinstance(event, kind[told]) and event.step == chosen.step
    )

    resumed = killed_and_resumed(stopping(overfit, tmp_path / "killed"), kill_at=place)

    assert_same(resumed, stopped)


@pytest.mark.slow
def test_a_kill_anywhere_changes_nothing(
    overfit: TrainingSpec, stopped: list[TrainingEvent], tmp_path: Path
) -> None:
    """As above, at every event there is."""
    for place in range(len(stopped)):
        spec = stopping(overfit, tmp_path / f"killed-{place}")
        assert_same(killed_and_resumed(spec, kill_at=place), stopped)


def test_the_final_adapter_goes_ahead_of_its_proof(
    make_spec: Callable[..., TrainingSpec],
) -> None:
    """Handed over before anything else is written of its step; a trainer killed right there costs nothing."""
    undisturbed = run(make_spec("undisturbed", n_epochs=1, validation_path=None))
    place = next(place for place, e in enumerate(undisturbed) if isinstance(e, AdapterSaved))
    spec = make_spec("killed", n_epochs=1, validation_path=None)

    run(spec, kill_at=place)

    (adapter_dir,) = spec.work_dir.glob("checkpoints/*")
    assert adapter_dir.name == undisturbed[place].adapter_dir.name == "step-3"
    assert {path.name for path in adapter_dir.iterdir()} == {CONFIG, WEIGHTS, RENDERING}
    assert not (spec.work_dir / "resume" / "step-3").exists()
    assert_same(run(spec), undisturbed)


def test_a_model_that_is_not_the_final_one_is_not_handed_over(whole: list[TrainingEvent]) -> None:
    """Where an earlier step's was better, the last adapter goes nowhere before it is proven."""
    assert not of_kind(whole, AdapterSaved)


def test_long_epochs_are_measured_in_between(overfit: TrainingSpec, tmp_path: Path) -> None:
    """The best may lie within an epoch: it is kept, though no epoch ends there."""
    spec = overfit.model_copy(
        update={
            "training_path": write_examples(tmp_path / "train.jsonl", 88),
            "work_dir": tmp_path / "work",
            "n_epochs": 1,
            "batch_size": 1,
        }
    )
    events = run(spec)
    (chosen,) = of_kind(events, ModelChosen)

    assert list(losses(events)) == [22, 44, 66, 88]
    assert [saved.step for saved in of_kind(events, CheckpointSaved)] == [88]
    assert chosen.step < 88
    assert (chosen.adapter_dir / WEIGHTS).is_file()


ABSURD = OptimizerSpec(warmup_ratio=0.0, max_grad_norm=0.0)


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_runs_away_ends(
    make_spec: Callable[..., TrainingSpec], *, resumed: bool
) -> None:
    """With an absurd rate the job fails, and says what to try; taken up again after a kill just so."""
    spec = make_spec(n_epochs=30, learning_rate=10.0, optimizer=ABSURD, validation_path=None)
    if resumed:
        run(spec, kill_at=30)
    told: list[TrainingEvent] = []

    with pytest.raises(JobFailure, match="Training ruined the model") as failure:
        train(spec, emit=told.append, preemption=Preemption())

    assert failure.value.code == "diverged"
    assert "as if it only guessed" in failure.value.message
    assert "learning_rate_multiplier of a tenth" in failure.value.message
    assert not of_kind(told, ModelChosen)


def test_a_good_model_is_told_before_a_late_divergence(
    overfit: TrainingSpec, tmp_path: Path
) -> None:
    """A run whose weights are no numbers any more fails; its best model before that is on disk, and told again."""
    spec = overfit.model_copy(update={"work_dir": tmp_path / "work"})
    before = run(spec, kill_at=12)
    poison(newest_point(spec))
    told: list[TrainingEvent] = []

    with pytest.raises(JobFailure, match="not a finite number"):
        train(spec, emit=told.append, preemption=Preemption())

    measured = losses(before)
    best = of_kind(told, BestSaved)[-1]
    assert best == of_kind(before, BestSaved)[-1]
    assert best.step == min(measured, key=measured.__getitem__)
    assert best.valid_loss == measured[best.step]
    assert (best.adapter_dir / WEIGHTS).is_file()


def newest_point(spec: TrainingSpec) -> Path:
    points = (spec.work_dir / "resume").glob("step-*")
    return max(points, key=lambda point: int(point.name.removeprefix("step-")))


def poison(point: Path) -> None:
    """Let a resume point hold an adapter of no numbers, whole as far as it can tell."""
    state = load_file(point / "state.safetensors")
    broken = {name: tensor * math.nan for name, tensor in state.items()}
    save_file(broken, point / "state.safetensors")
    manifest = Manifest.model_validate_json((point / "manifest.json").read_bytes())
    digest = hashlib.sha256((point / "state.safetensors").read_bytes()).hexdigest()
    changed = manifest.model_copy(update={"state_digest": digest})
    (point / "manifest.json").write_text(changed.model_dump_json())


def test_a_large_first_batch_tells_where_a_run_started(
    make_spec: Callable[..., TrainingSpec],
) -> None:
    """Its loss before the first step is what later ones are held against: nothing is measured for that."""
    spec = make_spec(n_epochs=2, batch_size=8, validation_path=None)

    events = run(spec)

    manifest = Manifest.model_validate_json(
        (spec.work_dir / "resume" / "step-4" / "manifest.json").read_bytes()
    )
    assert manifest.course.start_loss == comparable(events)[1].train_loss


def test_a_noisy_run_does_not(make_spec: Callable[..., TrainingSpec], tmp_path: Path) -> None:
    """Answers that nobody can predict, one a step: losses leap by nats, and the run goes on to its end."""
    noise, path = random.Random(5), tmp_path / "noise.jsonl"
    words = [word for answer in ANSWERS for word in answer.split()]
    with path.open("w") as file:
        for number in range(36):
            answer = " ".join(noise.choices(words, k=noise.choice([1, 1, 2, 12])))
            messages = [
                {"role": "user", "content": f"Say {number}"},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    spec = make_spec(training_path=path, n_epochs=2, batch_size=1, validation_path=None)

    events = run(spec)

    spread = [step.train_loss for step in of_kind(events, StepDone)]
    assert len(spread) == 72
    assert max(spread) - min(spread) > 2
    assert of_kind(events, ModelChosen)
