"""The proof as an instrument: `python -m tests.bench.honest_jobs [--jobs 200] [--seed 0]`.

Trains many short jobs on the tiny base with `jobs.training`, no two alike, and proves each in one real vLLM:
as it was trained, and with every fault planted that such an engine answers 200 to. `docs/decisions/0011` has
the table that it prints.
"""

import argparse
import asyncio
import itertools
import json
import logging
import random
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.training.loop import train
from jobs.training.process import Preemption
from schemas.base import Schema
from schemas.bases import BaseModelInfo
from schemas.proof import Proof
from schemas.settings import Settings
from schemas.training import CheckpointSaved, LoraSpec, TrainingEvent, TrainingSpec
from serving.engine import EngineProcess, internal_base_name
from serving.proof import Baseline, ProofReport, compare, fault_of, measure, measure_base
from serving.vllm import Vllm
from tests.bench.invented_tasks import TASKS
from tests.servers import private_directory
from tests.serving.adapters_made import changed_copy, partial_copy, scaled_copy

NANO: Final = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=1024,
    hidden_size=192,
    model_type="llama",
    n_parameters=2_755_008,
    digest="5eed" * 16,
    created=1_795_000_000,
)
STRENGTHS: Final = (0.5, 0.8, 1.1, 1.25, 2.0)
"""Of the adapter, planted as another alpha."""
PARTS: Final = {"no q_proj": ".q_proj.", "no layer 3": ".layers.3."}
"""What of it is not served: an engine that takes other modules than training did loses the rest silently."""
HONEST: Final = "honest"
_EFFECTS: Final = (0.0, 0.1, 0.3, 1.0, 3.0, float("inf"))
"""Bounds of the groups in which the table counts, in nats."""


class Measured(Schema):
    """A job's adapter as the trainer left it, and what the engine made of it or of a faulty one."""

    job: int
    spec: TrainingSpec
    proof: Proof
    baseline: list[list[float]]
    served: dict[str, list[list[float]]]
    """Log-probabilities by what was served: `honest`, or a fault."""

    def report(self, served: str) -> ProofReport:
        """Return what the proof measures of one of them."""
        baseline = Baseline(logprobs=self.baseline)
        return compare(
            self.proof, baseline=baseline, tuned=self.served[served], base_after=self.baseline
        )


def invented_spec(number: int, *, seed: int, directory: Path) -> TrainingSpec:
    """Write the file of one job, and return its spec: task, sizes, rank, rate and seed are drawn."""
    draw = random.Random(f"{seed} {number}")
    directory.mkdir(parents=True)
    name, task = draw.choice(sorted(TASKS.items()))
    training_path = directory / f"{name}.jsonl"
    examples = [task(draw) for _ in range(draw.choice([10, 12, 20, 40, 60]))]
    training_path.write_text("".join(json.dumps(example) + "\n" for example in examples))
    rank = draw.choice([1, 2, 4, 8, 16, 32, 64])
    return TrainingSpec(
        base_dir=NANO.directory,
        base_name=NANO.name,
        base_digest=NANO.digest,
        training_path=training_path,
        work_dir=directory / "work",
        n_epochs=draw.choice([1, 1, 2, 3]),
        batch_size=draw.choice([1, 2, 4, 8]),
        learning_rate=10 ** draw.uniform(-4, -2),
        seed=draw.randrange(2**31),
        context_length=NANO.context_length,
        lora=LoraSpec(
            rank=rank,
            alpha=rank * draw.choice([1, 2]),
            dropout=draw.choice([0.0, 0.0, 0.1]),
            target_modules=draw.choice([None, None, ("q_proj", "v_proj", "down_proj")]),
            use_rslora=draw.choice([False, False, True]),
        ),
        resume_every_seconds=3600.0,
    )


def trained_adapter(spec: TrainingSpec) -> Path:
    """Train a job in this process, and return its last adapter."""
    saved: list[Path] = []

    def note(event: TrainingEvent) -> None:
        if isinstance(event, CheckpointSaved):
            saved.append(event.adapter_dir)

    train(spec, emit=note, preemption=Preemption())
    return saved[-1]


@dataclass
class Bench:
    """A real engine, and the adapter of the job before, which is another job's to the next."""

    vllm: Vllm
    base: str
    directory: Path
    plant_every: int
    """Faults are planted in each so many-th job."""
    before: str | None = None

    async def measured(self, number: int, *, seed: int) -> Measured:
        """Train a job, and serve it with and without faults."""
        spec = invented_spec(number, seed=seed, directory=self.directory / f"job-{number}")
        # In a thread: the connection to the engine would be closed while nobody looks.
        adapter = await asyncio.to_thread(trained_adapter, spec)
        proof = Proof.model_validate_json((adapter / "proof.json").read_bytes())
        baseline = await measure_base(self.vllm, proof, base=self.base)
        served = {}
        for name, plant in self._served(spec.lora, number):
            copy = plant(adapter, adapter.parent / f"planted-{name}")
            served[name] = await self._ask(proof, f"adapter-{number}-{name}", copy)
        if self.before is not None:
            served["another job's"] = await measure(self.vllm, proof, model=self.before)
            await self.vllm.unload_adapter(self.before)
        self.before = await self._loaded(f"adapter-{number}-kept", adapter)
        return Measured(
            job=number, spec=spec, proof=proof, baseline=baseline.logprobs, served=served
        )

    def _served(
        self, lora: LoraSpec, number: int
    ) -> Iterator[tuple[str, Callable[[Path, Path], Path]]]:
        yield HONEST, lambda adapter, _: adapter
        if number % self.plant_every:
            return
        yield "zeros", lambda adapter, to: scaled_copy(adapter, to, 0)
        for strength in STRENGTHS:
            alpha = lora.alpha * strength
            yield (
                f"x{strength:g}",
                lambda adapter, to, a=alpha: changed_copy(adapter, to, lora_alpha=a),
            )
        for name, without in PARTS.items():
            yield name, lambda adapter, to, w=without: partial_copy(adapter, to, w)

    async def _ask(self, proof: Proof, name: str, adapter: Path) -> list[list[float]]:
        await self._loaded(name, adapter)
        logprobs = await measure(self.vllm, proof, model=name)
        await self.vllm.unload_adapter(name)
        return logprobs

    async def _loaded(self, name: str, adapter: Path) -> str:
        await self.vllm.load_adapter(name, adapter)
        return name


@asynccontextmanager
async def open_bench(directory: Path, *, plant_every: int = 1) -> AsyncIterator[Bench]:
    """Start an engine on the tiny base."""
    settings = Settings(data_dir=directory, bases_dir=directory, engine_memory_mb=64)
    engine = EngineProcess(
        NANO, settings, socket=directory / "engine.sock", log_path=directory / "engine.log"
    )
    await engine.start()
    try:
        await engine.wait_until_healthy()
        async with Vllm(engine.url) as vllm:
            yield Bench(vllm, internal_base_name(NANO), directory, plant_every)
    finally:
        await engine.stop()


def table(jobs: Sequence[Measured]) -> str:
    """Return how many of what was served were refused, by the trainer's effect; and the distributions."""
    reports = {
        name: [job.report(name) for job in jobs if name in job.served]
        for name in dict.fromkeys(name for job in jobs for name in job.served)
    }
    lines = ["refused of served, by the effect that training had (nats)"]
    groups = list(itertools.pairwise(_EFFECTS))
    lines.append("served".ljust(16) + "".join(f"{a:g} to {b:g}".rjust(10) for a, b in groups))
    for name, measured in reports.items():
        cells = []
        for low, high in groups:
            group = [fault_of(r) for r in measured if low <= r.trainer_effect < high]
            cells.append(f"{sum(f is not None for f in group)}/{len(group)}".rjust(10))
        lines.append(name.ljust(16) + "".join(cells))
    for name, value in _DISTRIBUTIONS.items():
        values = sorted(value(report) for report in reports.get(HONEST, []))
        shown = [
            f"{q:g} %: {values[min(len(values) - 1, int(q / 100 * len(values)))]:.3f}"
            for q in (0, 10, 50, 90, 99, 100)
        ]
        lines.append(f"honest, {name}:  " + "  ".join(shown))
    return "\n".join(lines)


_DISTRIBUTIONS: Final[dict[str, Callable[[ProofReport], float]]] = {
    "effect": lambda report: report.trainer_effect,
    "base difference": lambda report: report.base_difference,
    "difference / tolerance": lambda report: report.difference / report.tolerance,
    "strength": lambda report: report.strength or 1,
    "error of strength / tolerance": lambda report: (
        abs((report.strength or 1) - 1) / report.strength_tolerance
    ),
}


async def run(
    *, n_jobs: int, seed: int, plant_every: int = 1, keep: Path | None = None
) -> list[Measured]:
    """Measure jobs; write each, as JSON, to a line of `keep` as soon as it is known."""
    jobs: list[Measured] = []
    with private_directory("retune-bench-") as directory:
        async with open_bench(directory, plant_every=plant_every) as bench:
            for number in range(n_jobs):
                jobs.append(await bench.measured(number, seed=seed))
                if keep:
                    with keep.open("a") as file:
                        file.write(jobs[-1].model_dump_json() + "\n")
                if (number + 1) % 10 == 0:
                    print(f"{number + 1} of {n_jobs}", flush=True)
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plant-every", type=int, default=1, help="faults in each so many-th job")
    parser.add_argument("--keep", type=Path, help="write each job's measurement to this file")
    parser.add_argument("--read", type=Path, nargs="+", help="measure nothing: show such files")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # torch's and PEFT's own
    logging.basicConfig(level=logging.WARNING)
    if options.read:
        lines = itertools.chain.from_iterable(path.open() for path in options.read)
        jobs = [Measured.model_validate_json(line) for line in lines]
    else:
        jobs = asyncio.run(
            run(
                n_jobs=options.jobs,
                seed=options.seed,
                plant_every=options.plant_every,
                keep=options.keep,
            )
        )
    print(table(jobs))


if __name__ == "__main__":
    main()
