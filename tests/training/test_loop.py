"""Whole runs on the tiny base, in this process."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from jobs.training.loop import train
from jobs.training.model import CONFIG, WEIGHTS
from jobs.training.process import Preempted, Preemption
from schemas.errors import JobFailure
from schemas.proof import PROOF, Proof
from schemas.rendering import RENDERING, RenderingSamples
from schemas.training import (
    CheckpointSaved,
    LoraSpec,
    StepDone,
    TrainingDone,
    TrainingEvent,
    TrainingSpec,
    TrainingStarted,
)
from tests.training.conftest import short_spec, write_examples

pytestmark = pytest.mark.training

MakeSpec = Callable[..., TrainingSpec]


@dataclass(frozen=True)
class Finished:
    """A run that nobody disturbed."""

    spec: TrainingSpec
    events: list[TrainingEvent]


@pytest.fixture(scope="module")
def whole(nano_dir: Path, files_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The short run, 3 epochs."""
    spec = short_spec(nano_dir, files_dir, tmp_path_factory.mktemp("whole"))
    return Finished(spec, run(spec))


@pytest.fixture(scope="module")
def longer(nano_dir: Path, files_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """The same with 6 epochs and an adapter of rank 4."""
    spec = short_spec(nano_dir, files_dir, tmp_path_factory.mktemp("longer"))
    spec = spec.model_copy(
        update={"n_epochs": 6, "lora": LoraSpec(rank=4, alpha=8), "learning_rate": 1e-2}
    )
    return Finished(spec, run(spec))


def run(spec: TrainingSpec) -> list[TrainingEvent]:
    events: list[TrainingEvent] = []
    train(spec, emit=events.append, preemption=Preemption())
    return events


def run_until(spec: TrainingSpec, step: int) -> list[TrainingEvent]:
    """Ask the run to go when it tells of a step."""
    events: list[TrainingEvent] = []
    preemption = Preemption()

    def emit(event: TrainingEvent) -> None:
        events.append(event)
        preemption.requested |= isinstance(event, StepDone) and event.step == step

    with pytest.raises(Preempted):
        train(spec, emit=emit, preemption=preemption)
    return events


def steps(events: list[TrainingEvent]) -> list[StepDone]:
    """Return the steps without their wall time, which is never the same."""
    return [e.model_copy(update={"seconds": 0.0}) for e in events if isinstance(e, StepDone)]


def final_adapter(events: list[TrainingEvent]) -> dict[str, torch.Tensor]:
    (*_, last) = (event for event in events if isinstance(event, CheckpointSaved))
    return load_file(last.adapter_dir / WEIGHTS)


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_run_tells_its_story_in_order(whole: Finished) -> None:
    """Started, each step once, after each epoch's last a checkpoint, here the best; the final adapter ahead."""
    assert [event.kind for event in whole.events] == [
        "started", *(["step"] * 3 + ["checkpoint", "best"]) * 2,
        "step", "step", "adapter", "step", "checkpoint", "best", "chosen", "done",
    ]  # fmt: skip
    assert [step.step for step in steps(whole.events)] == list(range(1, 10))
    assert [e.epoch for e in whole.events if isinstance(e, CheckpointSaved)] == [1, 2, 3]
    started = whole.events[0]
    assert isinstance(started, TrainingStarted)
    assert (started.total_steps, started.resumed_at_step, started.n_examples) == (9, 0, 11)


def test_it_learns(longer: Finished) -> None:
    """The loss falls to less than half, in training and in validation."""
    told = steps(longer.events)

    assert told[-1].train_loss < told[0].train_loss / 2
    full = [step.full_valid_loss for step in told if step.full_valid_loss is not None]
    assert full[-1] < full[0] / 2


def test_validation_is_measured_on_time(longer: Finished) -> None:
    """The small batch each tenth step and the last, the whole file at each epoch's end."""
    told = steps(longer.events)

    assert [step.step for step in told if step.valid_loss is not None] == [10, 18]
    assert [step.step for step in told if step.full_valid_loss is not None] == list(range(3, 19, 3))


def test_totals_count_every_epoch(whole: Finished) -> None:
    """Trained tokens are the tokens of all steps; those with loss are fewer. Memory is in bytes."""
    done = whole.events[-1]

    assert isinstance(done, TrainingDone)
    assert done.trained_tokens == sum(step.tokens for step in steps(whole.events))
    assert 0 < done.loss_tokens < done.trained_tokens
    assert 2**20 < done.peak_memory_bytes < 2**40


def test_the_seed_reproduces(whole: Finished, make_spec: MakeSpec) -> None:
    """The same spec gives the same losses and the same adapter, to the bit; another seed does not."""
    again, other = run(make_spec("again")), run(make_spec("other", seed=8, n_epochs=1))

    assert steps(again) == steps(whole.events)
    assert_equal(final_adapter(again), final_adapter(whole.events))
    assert steps(other)[0].train_loss != steps(whole.events)[0].train_loss


@pytest.mark.parametrize("stopped_at", [1, 3, 8])
def test_a_preempted_run_goes_on(whole: Finished, make_spec: MakeSpec, stopped_at: int) -> None:
    """A run that was asked to go saves, and its successor continues with the next step."""
    spec = make_spec(resume_every_seconds=1e9)

    before = run_until(spec, stopped_at)
    after = run(spec.model_copy(update={"reported_step": steps(before)[-1].step}))

    by_step = {step.step: step for step in steps(before) + steps(after)}
    assert [by_step[number] for number in range(1, 10)] == steps(whole.events)
    assert steps(after)[0].step == steps(before)[-1].step + 1
    assert_equal(final_adapter(after), final_adapter(whole.events))


def test_what_a_killed_worker_had_not_recorded_is_told_again(
    whole: Finished, make_spec: MakeSpec
) -> None:
    """The successor tells of every step that its worker does not know, in order, and of no other."""
    spec = make_spec()
    run_until(spec, 5)

    after = run(spec.model_copy(update={"reported_step": 2}))

    assert [step.step for step in steps(after)] == list(range(3, 10))
    assert steps(after) == steps(whole.events)[2:]


def test_dropout_resumes_too(make_spec: MakeSpec) -> None:
    """What is dropped in a step follows from the step, not from what ran before it."""
    lora = LoraSpec(dropout=0.3)
    undisturbed = run(make_spec("undisturbed", lora=lora, n_epochs=1))
    run_until(make_spec(lora=lora, n_epochs=1), 2)

    resumed = run(make_spec(lora=lora, n_epochs=1))

    assert_equal(final_adapter(resumed), final_adapter(undisturbed))


def test_the_end_of_an_epoch_is_told_again(make_spec: MakeSpec) -> None:
    """A run resumed at an epoch's end tells of that epoch again: its worker may not have heard."""
    spec = make_spec(n_epochs=1)
    first = run(spec)
    written = {path: path.stat().st_mtime_ns for path in spec.work_dir.glob("checkpoints/*/*")}

    last = steps(first)[-1].step
    again = run(spec.model_copy(update={"reported_step": last - 1}))

    assert [event.kind for event in again] == [
        "started", "adapter", "step", "checkpoint", "best", "chosen", "done",
    ]  # fmt: skip
    assert steps(again) == steps(first)[-1:]
    assert len(written) == 4
    assert written == {path: path.stat().st_mtime_ns for path in written}


def test_a_broken_resume_point_is_passed_over(whole: Finished, make_spec: MakeSpec) -> None:
    """A point whose bytes are not what its manifest says gives way to the one before it."""
    spec = make_spec()
    run_until(spec, 5)
    state = spec.work_dir / "resume" / "step-5" / "state.safetensors"
    content = bytearray(state.read_bytes())
    content[-1] ^= 1
    state.write_bytes(content)

    after = run(spec.model_copy(update={"reported_step": 5}))

    assert steps(after)[0].step == 5
    assert_equal(final_adapter(after), final_adapter(whole.events))


def test_another_run_does_not_go_on_from_it(make_spec: MakeSpec) -> None:
    """Resume points and checkpoints of another spec in the same directory are not taken."""
    run(make_spec(n_epochs=1))

    events = run(make_spec(n_epochs=1, learning_rate=1e-3))

    assert steps(events)[0].step == 1
    own = run(make_spec("own", n_epochs=1, learning_rate=1e-3))
    assert_equal(final_adapter(events), final_adapter(own))


def test_two_resume_points_are_kept(whole: Finished) -> None:
    """The last two, in nothing but safetensors and JSON; nothing half-written."""
    resume = whole.spec.work_dir / "resume"

    assert sorted(path.name for path in resume.iterdir()) == ["step-8", "step-9"]
    assert {path.suffix for path in resume.rglob("*.*")} == {".safetensors", ".json"}


def test_a_checkpoint_is_what_vllm_serves(whole: Finished) -> None:
    """Four files: PEFT's two, which name the base and no path of ours, and two for the proof."""
    directory = whole.spec.work_dir / "checkpoints" / "step-9"
    config = json.loads((directory / CONFIG).read_text())
    weights = load_file(directory / WEIGHTS)

    assert {path.name for path in directory.iterdir()} == {CONFIG, WEIGHTS, PROOF, RENDERING}
    assert config["base_model_name_or_path"] == "retune-nano"
    assert (config["r"], config["lora_alpha"], config["bias"]) == (16, 32, "none")
    rendering = RenderingSamples.model_validate_json((directory / RENDERING).read_bytes())
    assert len(rendering.samples) == 3
    assert not config["use_dora"]
    assert config["modules_to_save"] is None
    assert len(weights) == 6 * 7 * 2
    assert all(tensor.dtype == torch.float32 for tensor in weights.values())


def test_training_goes_on_from_an_earlier_adapter(longer: Finished, make_spec: MakeSpec) -> None:
    """A run that starts from an adapter starts with its loss, rank and alpha."""
    spec = make_spec(n_epochs=1, init_adapter_dir=longer.spec.work_dir / "checkpoints" / "step-18")
    events = run(spec)

    assert steps(events)[0].train_loss < steps(longer.events)[0].train_loss / 2
    config = json.loads((spec.work_dir / "checkpoints" / "step-3" / CONFIG).read_text())
    assert (config["r"], config["lora_alpha"]) == (4, 8)


def test_the_proof_is_of_the_validation_file(longer: Finished) -> None:
    """It judges trained tokens of held examples, which the tuned model finds likelier."""
    proof = read_proof(longer.spec, step=18)

    assert proof.from_validation
    assert proof.base_digest == "d" * 64
    assert len(proof.examples) == 5
    for example in proof.examples:
        assert len(example.positions) == len(example.base_logprobs) == len(example.tuned_logprobs)
        assert all(1 <= position < len(example.token_ids) for position in example.positions)
        assert sum(example.tuned_logprobs) > sum(example.base_logprobs)


def test_without_a_validation_file(make_spec: MakeSpec) -> None:
    """Nothing is validated, and the proof says that its examples were trained on."""
    spec = make_spec(n_epochs=1, validation_path=None)

    told = steps(run(spec))

    assert all(step.valid_loss is None and step.full_valid_loss is None for step in told)
    proof = read_proof(spec, step=3)
    assert not proof.from_validation
    assert len(proof.examples) == 8


def test_nothing_to_learn_from(make_spec: MakeSpec) -> None:
    """A file whose every answer lies beyond the context is refused."""
    with pytest.raises(JobFailure, match="token to learn from") as failure:
        run(make_spec(context_length=4))
    assert failure.value.code == "invalid_training_file"


def test_files_are_known_by_content(make_spec: MakeSpec, tmp_path: Path) -> None:
    """A run goes on where its files now lie elsewhere, as long as they say the same."""
    run_until(make_spec(n_epochs=1), 2)
    moved = write_examples(tmp_path / "moved.jsonl", 11)

    again = run(make_spec(n_epochs=1, training_path=moved, reported_step=2))
    assert steps(again)[0].step == 3


def read_proof(spec: TrainingSpec, *, step: int) -> Proof:
    path = spec.work_dir / "checkpoints" / f"step-{step}" / "proof.json"
    return Proof.model_validate_json(path.read_bytes())
