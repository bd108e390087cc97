"""How long a job takes beside its training: `python -m tests.bench.overhead [--base NAME] [--runs N]`.

From `jobs.create` to the first answer of the tuned model, minus the optimizer steps themselves. The engine
runs already; each trainer starts cold. Wall time: run it on a quiet machine, and look at the smallest.
"""

import argparse
import time
from dataclasses import dataclass

from openai import OpenAI

from tests.e2e.journey import ask, create_job, demo_lines, finished
from tests.e2e.server import running_server
from tests.servers import private_directory

TARGET_SECONDS = 15.0


@dataclass(frozen=True)
class Run:
    """One job's times, in seconds."""

    total: float
    """From create to the first tuned answer."""
    steps: float
    """The optimizer steps."""
    until_started: float
    """Validation and queue."""
    until_first_step: float
    """From started to the end of the first step: imports, base, rows."""
    after_last_step: float
    """From the last step to succeeded: checkpoint, load, proof, result file."""

    @property
    def overhead(self) -> float:
        return self.total - self.steps


def measure(client: OpenAI, base: str) -> Run:
    """Run one short job."""
    began = time.time()
    job = create_job(
        client,
        base=base,
        examples=demo_lines("train.jsonl")[:40],
        hyperparameters={"n_epochs": 1, "batch_size": 8},
    )
    times: dict[str, float] = {}
    while job.status not in {"succeeded", "failed", "cancelled"}:
        job = client.fine_tuning.jobs.retrieve(job.id)
        times.setdefault(job.status, time.time())
        listed = client.fine_tuning.jobs.list_events(job.id, limit=20).data
        steps = [event for event in listed if event.type == "metrics"]
        if steps:
            times.setdefault("first step", time.time())
            if steps[0].data["step"] == steps[0].data["total_steps"]:
                times.setdefault("last step", time.time())
        time.sleep(0.02)
    job = finished(client, job.id)
    assert job.status == "succeeded", job.error
    ask(client, job.fine_tuned_model, "My card is gone")
    ended = time.time()
    listed = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    seconds = sum(event.data["seconds"] for event in listed if event.type == "metrics")
    return Run(
        total=ended - began,
        steps=seconds,
        until_started=times.get("running", times["first step"]) - began,
        until_first_step=times["first step"] - times.get("running", began),
        after_last_step=times["succeeded"] - times["last step"],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    with (
        private_directory("retune-bench-") as directory,
        running_server(directory / "data") as server,
    ):
        client = server.client()
        ask(client, options.base, "Hello")  # the engine is up from here on
        runs = []
        for number in range(options.runs):
            run = measure(client, options.base)
            runs.append(run)
            print(
                f"run {number + 1}: overhead {run.overhead:5.1f} s = {run.total:.1f} s - {run.steps:.1f} s of steps"
                f"  (until started {run.until_started:.1f}, to the first step {run.until_first_step:.1f},"
                f" after the last {run.after_last_step:.1f})",
                flush=True,
            )
    best = min(run.overhead for run in runs)
    print(f"{options.base}: smallest overhead {best:.1f} s, target {TARGET_SECONDS:.0f} s")


if __name__ == "__main__":
    main()
