"""How fast we train beside TRL's SFTTrainer, in one run: `make bench-training`.

Trainers take turns, each in a process with one thread. Real tokens per CPU-second are what to trust: wall times
suffer from neighbours. The adapters are judged on held-out chats, so that nobody is fast by learning less.
"""

import argparse
import dataclasses
import os
import platform
import sys
import time
from pathlib import Path

import torch
import transformers

from api.cli.main import settings_from
from tests.bench.training.contests import TRL, Contest, Turn, contests, take_turn
from tests.bench.training.verdicts import table, verdicts
from tests.bench.training.workloads import describe
from tests.servers import private_directory


def run(name: str, contest: Contest, directory: Path, *, repeats: int) -> bool:
    """Run a contest and print what it gave; return whether all its goals were reached."""
    workload = contest.make(directory / name)
    sample = workload.write_training_file(directory / "sample.jsonl", steps=25, seed=0)
    print(f"\n## {name}: {workload.name}, {workload.what}\n")
    print(f"{describe(workload.rows(sample))}; {contest.steps} steps of 8, {repeats} seeds.\n")
    turns = [
        take_turn(contest, workload, directory / f"{name}-{seed}", seed=seed)
        for seed in range(1, repeats + 1)
    ]
    print(table(contest, turns))
    print()
    reached = list(verdicts(contest, turns))
    for verdict in reached:
        print(f"- {verdict}", flush=True)
    print(f"\nVersions: {versions(turns[0])}")
    return all(verdict.is_met for verdict in reached)


def versions(turn: Turn) -> str:
    """Return what each environment had installed."""
    return "; ".join(
        f"{trainer}: " + ", ".join(f"{name} {number}" for name, number in run.versions.items())
        for trainer, run in turn.runs.items()
    )


def machine() -> str:
    """Return processor, cores and date."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{name}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}"


def changed(contest: Contest, asked: argparse.Namespace) -> Contest:
    """Return a contest with the steps and trainers that were asked for."""
    return dataclasses.replace(
        contest,
        steps=asked.steps or contest.steps,
        trainers=("ours",) if asked.without_trl else contest.trainers,
    )


def main() -> int:
    """Measure and print; 1 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="tests.bench.training", description=__doc__)
    parser.add_argument("contests", nargs="*", help="trial, short, vocabulary; none: all three")
    parser.add_argument("--repeats", type=int, default=3, help="seeds of each")
    parser.add_argument("--steps", type=int, help="of 8 chats, the warm-up among them")
    parser.add_argument("--without-trl", action="store_true", help="ours alone")
    parser.add_argument("--quick", action="store_true", help="ours alone on a tiny base: seconds")
    parser.add_argument("--bases-dir", type=Path, default=settings_from().bases_dir)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    known = contests(asked.bases_dir)
    names = ["quick"] if asked.quick else asked.contests or ["trial", "short", "vocabulary"]
    if unknown := set(names) - known.keys():
        parser.error(f"no such contest: {', '.join(sorted(unknown))}")
    if not asked.without_trl and not asked.quick and not TRL.exists():
        parser.error("TRL is not installed: `make .setup/trl`; or ask for ours --without-trl")
    print(f"{machine()}\npython -m tests.bench.training {' '.join(sys.argv[1:])}", flush=True)
    with private_directory("retune-training-") as directory:
        met = [
            run(name, changed(known[name], asked), directory, repeats=asked.repeats)
            for name in names
        ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
