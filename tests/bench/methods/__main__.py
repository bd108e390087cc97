"""LoRA beside full fine-tuning on a customer-service task: `make bench-methods`.

The claim on trial: 97 % of full fine-tuning's accuracy with 0.1 % of the parameters and 80 % less time. Each
configuration's result is kept in a file of its own; an interrupted run goes on with the next.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import transformers

from api.cli.main import settings_from
from tests.bench import bank_messages
from tests.bench.methods.accuracy import accuracy, load
from tests.bench.methods.page import best_full, markdown, rows, svg
from tests.bench.methods.results import Configuration, Result, Task, Trained
from tests.bench.training.__main__ import machine
from tests.bench.training.runs import ROOT, run_child
from tests.servers import private_directory

EXAMPLES, EPOCHS, BATCH = 100, 2, 2
TESTED = 100
"""Messages in each of the two wordings."""
FULL_RATES = (5e-5, 1e-4, 2e-4)
RATE = 1.9e-3
"""What `auto` gives an adapter on every layer of this base at this batch. Small ones, on queries and values
alone, are also tried at twice of it."""
ATTENTION = ("q_proj", "v_proj")


CONFIGURATIONS = (
    Configuration("LoRA q, v, r 2", RATE, rank=2, target_modules=ATTENTION),
    Configuration("LoRA q, v, r 2", 2 * RATE, rank=2, target_modules=ATTENTION),
    Configuration("LoRA all linear, r 8", RATE, rank=8),
    *(Configuration("full", full_rate) for full_rate in FULL_RATES),
    Configuration("LoRA q, v, r 1", RATE, rank=1, target_modules=ATTENTION),
    Configuration("LoRA q, v, r 1", 2 * RATE, rank=1, target_modules=ATTENTION),
    Configuration("LoRA q, v, r 8", RATE, rank=8, target_modules=ATTENTION),
    Configuration("LoRA all linear, r 2", RATE, rank=2),
    Configuration("LoRA all linear, r 32", RATE, rank=32),
)
"""The most important first: whoever interrupts has those."""


def measure(configuration: Configuration, *, base_dir: Path, seed: int, directory: Path) -> Result:
    """Train one configuration and ask it."""
    training = bank_messages.messages(EXAMPLES, "seen", seed=seed)
    module = "full" if configuration.is_full else "lora"
    task = Task(
        configuration=configuration,
        base_dir=str(base_dir),
        training_path=str(bank_messages.write(directory / "train.jsonl", training)),
        work_dir=str(directory / "work"),
        n_epochs=EPOCHS,
        batch_size=BATCH,
        seed=seed,
    )
    told = run_child(sys.executable, f"tests.bench.methods.{module}", stdin=task.to_json())
    trained = Trained(**json.loads(told))
    network = load(base_dir, Path(trained.model_dir))
    seen = bank_messages.messages(TESTED, "seen", seed=seed + 1000, without=training)
    unseen = bank_messages.messages(TESTED, "unseen", seed=seed + 1000)
    right = [
        accuracy(network, base_dir, bank_messages.write(directory / "test.jsonl", asked))
        for asked in (seen, unseen)
    ]
    return Result(configuration, seed, trained, seen=right[0], unseen=right[1])


def results(
    wanted: list[tuple[Configuration, int]], *, base_dir: Path, kept: Path
) -> Iterator[Result]:
    """Yield the result of each configuration and seed: from its file, or measured now."""
    kept.mkdir(parents=True, exist_ok=True)
    for configuration, seed in wanted:
        name = f"{configuration.name}-{configuration.learning_rate:.1e}-{seed}"
        path = kept / (name.replace(",", "").replace(" ", "-") + ".json")
        if not path.exists():
            with private_directory("retune-methods-") as directory:
                measure(configuration, base_dir=base_dir, seed=seed, directory=directory).write(
                    path
                )
        result = Result.read(path)
        spent = result.trained.cpu_seconds
        print(
            f"{configuration.name}, rate {configuration.learning_rate:.1e}, seed {seed}: seen "
            f"{result.seen:.2f}, unseen {result.unseen:.2f}, {spent:.0f} CPU-s",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        yield result


def all_results(base_dir: Path, kept: Path, *, seeds: int, only: str) -> list[Result]:
    """Return every configuration with the first seed, then all but full's lesser rates with the others."""
    among = [
        configuration for configuration in CONFIGURATIONS if configuration.name.startswith(only)
    ]
    found = list(results([(each, 1) for each in among], base_dir=base_dir, kept=kept))
    table = rows(found, n_parameters=1)
    if any(each.is_full for each in among):
        best = best_full(table).configuration
        among = [each for each in among if not each.is_full or each == best]
    later = [(each, seed) for seed in range(2, seeds + 1) for each in among]
    return found + list(results(later, base_dir=base_dir, kept=kept))


def main() -> None:
    """Measure what is not measured yet; print the table, draw the plot."""
    parser = argparse.ArgumentParser(prog="tests.bench.methods", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--only", default="", help="configurations whose name begins so; no table")
    parser.add_argument("--fresh", action="store_true", help="forget what was measured before")
    parser.add_argument("--kept", type=Path, default=ROOT / ".bench" / "methods")
    parser.add_argument("--plot", type=Path, default=ROOT / "docs" / "methods.svg")
    parser.add_argument("--bases-dir", type=Path, default=settings_from().bases_dir)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    if asked.fresh:
        shutil.rmtree(asked.kept, ignore_errors=True)
    base_dir = asked.bases_dir / "smollm2-135m"
    found = all_results(base_dir, asked.kept, seeds=asked.seeds, only=asked.only)
    if asked.only:
        return
    whole = next(result for result in found if result.configuration.is_full)
    table = rows(found, n_parameters=whole.trained.trained_parameters)
    print(f"{machine()}\npython -m tests.bench.methods {' '.join(sys.argv[1:])}\n")
    print(
        f"{base_dir.name}: {EXAMPLES} messages of 10 intents, {EPOCHS} epochs, {BATCH} a step; "
        f"asked {TESTED} in seen and {TESTED} in unseen wording.\n"
    )
    print(markdown(table))
    asked.plot.write_text(svg(table, title="Bank messages on SmolLM2-135M: exact codes"))


if __name__ == "__main__":
    main()
