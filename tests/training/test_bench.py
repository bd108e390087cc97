"""The bench of the training engine still runs, and says what it measured."""

import subprocess
import sys
from pathlib import Path

import pytest

from jobs.training.plan import Plan
from tests.bench.training.ours import spec_of
from tests.bench.training.runs import Asked, rates

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]


def test_the_bench_trains_and_judges():
    """Its quick mode runs our side alone, on a tiny base, to the end, with a loss below the base's."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench.training", "--quick", "--repeats", "1"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    (row,) = (line for line in ran.stdout.splitlines() if line.startswith("| retune |"))
    _, _, speed, _, computed, *_, loss, _ = (cell.strip() for cell in row.split("|"))
    untrained = float(ran.stdout.partition("Untrained, the base's loss is ")[2].partition(". ")[0])
    assert float(speed.split()[0]) > 0
    assert float(computed) == pytest.approx(1, abs=0.1)
    assert float(loss) < untrained


@pytest.mark.parametrize("total_steps", [1, 3, 40])
def test_the_peer_gets_our_rates(total_steps):
    """The schedule that TRL is given is the one that our trainer follows."""
    asked = Asked(
        base_dir="base",
        training_path="train.jsonl",
        initial_adapter_dir="initial",
        work_dir="work",
        batch_size=8,
        learning_rate=1e-3,
        warm_up_steps=1,
        context_length=1024,
        seed=1,
    )
    plan = Plan.of(spec_of(asked), n_examples=8 * total_steps)

    assert rates(1e-3, total_steps) == [plan.learning_rate(n + 1) for n in range(total_steps)]
