"""The bench of the training engine still runs, and says what it measured."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.training

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
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
