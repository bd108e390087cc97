"""Who trains what in `make bench-training`, taking turns: each seed has its own chats, order and first adapter, the same for all."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

import torch

from tests.bench.training.limit import Shape, measure_products
from tests.bench.training.losses import heldout_losses
from tests.bench.training.runs import ROOT, Asked, Measured, run_child
from tests.bench.training.workloads import (
    BATCH,
    CONTEXT,
    RANK,
    Workload,
    make_initial_adapter,
    short_messages,
    trial,
)

Trainer = Literal["ours", "defaults", "best"]

TRL: Final = ROOT / ".venv-trl" / "bin" / "python"
NAMES: Final[dict[Trainer, str]] = {
    "ours": "retune",
    "defaults": "TRL's defaults",
    "best": "TRL at its best",
}


@dataclasses.dataclass(frozen=True)
class Contest:
    """A workload, who trains it, and what is hoped for."""

    make: Callable[[Path], Workload]
    """Writes base and chats into a new directory."""
    trainers: tuple[Trainer, ...]
    steps: int
    warm_up_steps: int
    goals: dict[Trainer, float] = dataclasses.field(default_factory=dict)
    """How many times as fast as each of these we want to be."""
    share_goal: float | None = None
    """Of the machine's bfloat16 rate."""
    seconds_a_product: float = 0.5
    """CPU time to measure that rate with."""


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one seed gave."""

    runs: dict[Trainer, Measured]
    losses: dict[Trainer, float]
    """On held-out chats, in nats."""
    base_loss: float
    flops_a_token: float
    """Needed for a real token; see `Shape.flops`."""
    bfloat16_rate: float
    """Operations a CPU-second of products alone, measured in this turn."""
    float32_rate: float

    def share(self, trainer: Trainer, *, of_computed: bool) -> float:
        """Return which part of the bfloat16 rate a trainer reached.

        Args:
            trainer: One of this turn.
            of_computed: Count the tokens that went through the model; else the real ones, as if
                each chat had been run by itself and without padding. Attention is counted in
                proportion: a little less than was done where a prefix is shared.
        """
        run = self.runs[trainer]
        tokens = run.computed_tokens if of_computed else run.real_tokens
        return tokens * self.flops_a_token / run.cpu_seconds / self.bfloat16_rate


def contests(bases_dir: Path) -> dict[str, Contest]:
    """Return what can be asked for, by name.

    Args:
        bases_dir: Where SmolLM2-135M lies prepared.
    """
    return {
        "trial": Contest(
            lambda directory: trial(directory, vocabulary=8192),
            ("ours", "best", "defaults"),
            steps=10,
            warm_up_steps=2,
            goals={"defaults": 8.0, "best": 2.5},
        ),
        "short": Contest(
            lambda directory: short_messages(directory, bases_dir / "smollm2-135m"),
            ("ours", "defaults"),
            steps=12,
            warm_up_steps=2,
            goals={"defaults": 6.0},
            share_goal=0.55,
        ),
        "vocabulary": Contest(
            lambda directory: trial(directory, vocabulary=32768),
            ("ours", "best", "defaults"),
            steps=8,
            warm_up_steps=2,
        ),
        "quick": Contest(
            lambda directory: trial(directory, vocabulary=8192, n_chats=40, layers=1),
            ("ours",),
            steps=3,
            warm_up_steps=1,
            seconds_a_product=0.05,
        ),
    }


def take_turn(contest: Contest, workload: Workload, directory: Path, *, seed: int) -> Turn:
    """Let each train once on the same chats, and judge what they learned.

    Args:
        contest: Says who.
        workload: Says what.
        directory: Made; of this turn alone.
        seed: Of the turn.
    """
    directory.mkdir()
    chats = workload.write_training_file(directory / "train.jsonl", steps=contest.steps, seed=seed)
    initial = make_initial_adapter(workload.base_dir, directory / "initial", seed=seed)
    bfloat16_rate, float32_rate = (
        measure_products(dtype, seconds=contest.seconds_a_product)
        for dtype in (torch.bfloat16, torch.float32)
    )
    runs: dict[Trainer, Measured] = {}
    for trainer in contest.trainers:
        asked = Asked(
            base_dir=str(workload.base_dir),
            training_path=str(chats),
            initial_adapter_dir=str(initial),
            work_dir=str(directory / trainer),
            batch_size=BATCH,
            learning_rate=workload.learning_rate,
            warm_up_steps=contest.warm_up_steps,
            context_length=CONTEXT,
            seed=seed,
        )
        runs[trainer] = _train(trainer, asked)
        speed = runs[trainer].tokens_per_cpu_second
        print(f"  seed {seed}, {NAMES[trainer]}: {speed:.0f} tokens/CPU-s", file=sys.stderr)
    base_loss, *losses = heldout_losses(
        workload.base_dir,
        [Path(run.adapter_dir) for run in runs.values()],
        workload.rows(workload.heldout_path),
    )
    rows = workload.rows(chats)
    flops = Shape.of(workload.base_dir).flops(rows, rank=RANK)
    return Turn(
        runs=runs,
        losses=dict(zip(runs, losses, strict=True)),
        base_loss=base_loss,
        flops_a_token=flops / sum(len(row.token_ids) for row in rows),
        bfloat16_rate=bfloat16_rate,
        float32_rate=float32_rate,
    )


def _train(trainer: Trainer, asked: Asked) -> Measured:
    """Run a trainer in its own environment."""
    if trainer == "ours":
        told = run_child(sys.executable, "tests.bench.training.ours", stdin=asked.to_json())
    else:
        told = run_child(TRL, "tests.bench.training.peer", trainer, stdin=asked.to_json())
    return Measured.from_json(told)
