"""The room that a run has, what it does where there is too little, and that it learns the same there."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.rendering import Rendered, Row
from jobs.tokens_at_once import (
    TokensAtOnce,
    halve_after_kill,
    keep_tokens_at_once,
    read_tokens_at_once,
)
from jobs.training.corpus import Batch, Corpus
from jobs.training.layouts import Padded
from jobs.training.process import PREEMPTED, Spoiled
from jobs.training.recomputing import recompute_layers
from jobs.training.room import Room
from jobs.training.run import Run
from schemas.errors import JobFailure
from schemas.training import (
    Noted,
    OptimizerSpec,
    StepDone,
    TrainingDone,
    TrainingEvent,
    training_event,
)
from tests.training import networks


def step(run: Run, *lengths: int):
    documents = networks.documents(*lengths)
    return run.take_step(Batch(documents, sum(lengths)), learning_rate=1e-3)


def small_run(told: list[Noted], layout: Padded | None = None) -> Run:
    model = networks.tuned(networks.llama(), layout or Padded())
    return Run(model, optimizer=OptimizerSpec(), seed=1, tell=told.append)


def test_recomputed_layers_learn_the_same_to_the_bit() -> None:
    """Gradients and weights are equal, not nearly, where layers are run a second time."""
    kept, recomputed = small_run([]), small_run([])
    recompute_layers(recomputed.model.network)

    assert step(kept, 6, 20).grad_norm == step(recomputed, 6, 20).grad_norm
    for name, parameter in recomputed.model.parameters.items():
        assert torch.equal(parameter, kept.model.parameters[name])


def test_one_example_is_recomputed_before_it_fails() -> None:
    """Where a single example does not fit, intermediate results are given up first, and the user hears it."""

    class TooMuchKept(Padded):
        """Runs out of memory until layers keep less, or for good."""

        fits_recomputed = True

        def logits(self, network, documents):
            layer = network.model.layers[0]
            if not (self.fits_recomputed and "forward" in vars(layer)):
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return super().logits(network, documents)

    told: list[Noted] = []
    step(small_run(told, TooMuchKept()), 20)
    assert [note.key for note in told] == ["memory-saved"]
    assert "a single example of 20 tokens" in told[0].message

    never = TooMuchKept()
    never.fits_recomputed = False
    with pytest.raises(JobFailure, match="20 tokens does not fit"):
        step(small_run([], never), 20)


def test_a_process_that_can_compute_no_more_leaves(tmp_path: Path) -> None:
    """What oneDNN never gets over is left to another process, which begins with half."""

    class NoPrimitive(Padded):
        def logits(self, _network, _documents):
            raise RuntimeError("could not create a primitive")

    model = networks.tuned(networks.llama(), NoPrimitive())
    written: list[tuple[int, bool]] = []
    run = Run(
        model, optimizer=OptimizerSpec(), seed=1, tell=lambda _: None,
        room=Room(model, tokens=40, write=lambda *told: written.append(told)),
    )  # fmt: skip

    with pytest.raises(Spoiled):
        step(run, 6, 20)
    with pytest.raises(Spoiled):
        step(run, 20)
    assert written == [(13, False), (13, True)]
    with pytest.raises(JobFailure, match="20 tokens does not fit"):
        step(run, 20)


def test_a_kill_for_memory_lasts(make_spec, tmp_path: Path) -> None:
    """What a worker has halved is what the next attempt begins with; what an attempt learns is written down."""
    spec = make_spec(work_dir=tmp_path / "work")
    keep_tokens_at_once(spec.work_dir, TokensAtOnce(tokens=512, longest=20))
    assert halve_after_kill(spec.work_dir).tokens == 256
    model = networks.tuned(networks.llama(), Padded())
    rows = Rendered(rows=[Row([1, 2, 3], [False, True, True])], n_tokens=3, findings=[])

    room = Room.of(spec, model, Corpus.of([rows]), tell=lambda _: None)
    run = Run(model, optimizer=OptimizerSpec(), seed=1, tell=lambda _: None, room=room)
    assert run.budget.tokens == 256

    run.budget._on_halved(128)
    assert read_tokens_at_once(spec.work_dir).tokens == 128


def long_examples(path: Path) -> Path:
    """A dozen examples of about 450 tokens that hardly begin alike."""
    with path.open("w") as file:
        for number in range(12):
            asked = f"{number} " + "Where is my parcel? " * (45 + 3 * number)
            answer = "It is on its way. " * 6
            messages = [
                {"role": "user", "content": asked},
                {"role": "assistant", "content": answer},
            ]
            file.write(json.dumps({"messages": messages}) + "\n")
    return path


def wide_base(directory: Path) -> Path:
    """Write a base of 24 million random numbers with nano's tokenizer: a step holds far more than libraries do."""
    shutil.copytree(NANO_DIRECTORY, directory)
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=2048, hidden_size=512, intermediate_size=1536, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=2, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(directory)
    return directory


@pytest.mark.training
@pytest.mark.slow
def test_a_job_survives_memory_that_ends(make_spec, tmp_path: Path) -> None:
    """The first micro-batch really fails to be allocated, half of it does not, and the losses are the same.

    To bfloat16's rounding, which depends on what is multiplied together; float32 agrees to six
    digits (`test_memory`). A process that oneDNN has spoiled leaves, and another goes on.
    """
    asked = {
        "base_dir": wide_base(tmp_path / "base"), "validation_path": None, "learning_rate": 1e-3,
        "training_path": long_examples(tmp_path / "long.jsonl"),
        "batch_size": 12, "n_epochs": 2, "context_length": 1024,
    }  # fmt: skip
    limited = make_spec("limited", **asked)
    whole = trained(make_spec("whole", **asked), megabytes=0)
    told = trained(limited, megabytes=350)

    assert isinstance(told[-1], TrainingDone)
    assert isinstance(whole[-1], TrainingDone)
    assert losses(told) == pytest.approx(losses(whole), rel=1e-3)
    notes = [event for event in told if isinstance(event, Noted)]
    assert {note.step for note in notes} == {1}, "the first pass, and no later one"
    assert all("Memory ran out; going on with at most" in note.message for note in notes)
    kept = read_tokens_at_once(limited.work_dir)
    assert kept.tokens == min(int(note.key.removeprefix("memory-")) for note in notes) < 1024
    assert not kept.recomputes
    assert not any(isinstance(event, Noted) for event in whole)


def trained(spec, *, megabytes: int) -> list[TrainingEvent]:
    """Train in processes whose memory ends so far above their loaded base, as a worker does: until one ends."""
    told: list[TrainingEvent] = []
    for _attempt in range(8):
        ended = subprocess.run(
            [sys.executable, "-m", "tests.training.limited", str(megabytes)],
            input=spec.model_dump_json() + "\n", capture_output=True, text=True, check=False,
        )  # fmt: skip
        told += [training_event.validate_json(line) for line in ended.stdout.splitlines()]
        if ended.returncode != PREEMPTED:
            break
    return told


def losses(told: list[TrainingEvent]) -> dict[int, float]:
    """By step: one may be told twice."""
    return {event.step: event.train_loss for event in told if isinstance(event, StepDone)}
