"""What the bench and the trainers that it starts say to each other. Standard library only: TRL's environment reads it too."""

import dataclasses
import json
import os
import resource
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[3]


@dataclasses.dataclass(frozen=True)
class Asked:
    """One training run."""

    base_dir: str
    training_path: str
    """Chats whose number is a multiple of `batch_size`: one epoch, in the file's order where the trainer lets us choose."""
    initial_adapter_dir: str
    """Both trainers begin with these numbers."""
    work_dir: str
    batch_size: int
    learning_rate: float
    """The peak; `rates` says how it rises and falls."""
    warm_up_steps: int
    """Not measured."""
    context_length: int
    seed: int

    def to_json(self) -> str:
        """Return it on one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a run cost. Tokens and seconds are those after the warm-up, memory and loss those of all."""

    steps: int
    real_tokens: int
    """Of the chats, cut to the context length; no padding."""
    computed_tokens: int
    """That went through the model: padding makes them more, a shared prefix fewer."""
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    """The largest resident set of the process, imports and base included."""
    adapter_dir: str
    versions: dict[str, str]

    @property
    def tokens_per_cpu_second(self) -> float:
        """Real ones."""
        return self.real_tokens / self.cpu_seconds

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `print_result` wrote."""
        return cls(**json.loads(text))


class Meter:
    """Counts tokens and CPU time between the end of the warm-up and the last step."""

    def __init__(self) -> None:
        self._embedded = 0
        self.start()

    def start(self) -> None:
        """Forget what was counted so far: the warm-up is over."""
        self._begun = (self._embedded, time.process_time(), time.perf_counter())
        self.steps = self.real_tokens = self.computed_tokens = 0
        self.cpu_seconds = self.wall_seconds = 0.0

    def embed(self, tokens: int) -> None:
        """Say that the model is given so many tokens."""
        self._embedded += tokens

    def tick(self, real_tokens: int) -> None:
        """Say that a step is over, and how many tokens its chats have."""
        embedded, cpu, wall = self._begun
        self.steps += 1
        self.real_tokens += real_tokens
        self.computed_tokens = self._embedded - embedded
        self.cpu_seconds = time.process_time() - cpu
        self.wall_seconds = time.perf_counter() - wall

    def result(self, *, adapter_dir: Path, versions: dict[str, str]) -> Measured:
        """Return what was counted up to the last step."""
        return Measured(
            steps=self.steps,
            real_tokens=self.real_tokens,
            computed_tokens=self.computed_tokens,
            cpu_seconds=self.cpu_seconds,
            wall_seconds=self.wall_seconds,
            peak_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            adapter_dir=str(adapter_dir),
            versions=versions,
        )


def count_embedded_tokens(meter: Meter) -> None:
    """Count each token that enters a model built from now on, in any trainer, by its embedding."""
    import torch  # noqa: PLC0415 - the parent process of all runs needs none

    def count(_module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        meter.embed(inputs[0].numel())

    def watch(_parent: torch.nn.Module, _name: str, module: torch.nn.Module | None) -> None:
        if isinstance(module, torch.nn.Embedding):
            module.register_forward_pre_hook(count)

    torch.nn.modules.module.register_module_module_registration_hook(watch)


def rates(peak: float, total_steps: int) -> list[float]:
    """Return the rate of each step, as ours has it: up over 5 % of the steps, then linearly to 0."""
    warm_up = max(1, round(0.05 * total_steps))
    return [
        peak * min(step / warm_up, (total_steps + 1 - step) / (total_steps + 1 - warm_up))
        for step in range(1, total_steps + 1)
    ]


_RESULT = "RESULT "


def print_result(value: object) -> None:
    """Tell the parent; whatever else a library prints does not begin like this."""
    print(_RESULT + json.dumps(value), flush=True)


def run_child(python: str | Path, module: str, *arguments: str, stdin: str = "") -> str:
    """Run a module with one thread, and return what it gave to `print_result`.

    Raises:
        RuntimeError: It failed; the text is the end of what it printed.
    """
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "passive",  # threads that spin count as CPU time, and slow neighbours
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    ran = subprocess.run(
        [python, "-m", module, *arguments],
        input=stdin, capture_output=True, text=True, cwd=ROOT, env=environment, check=False,
    )  # fmt: skip
    results = list(_results(ran.stdout))
    if ran.returncode or not results:
        raise RuntimeError(
            f"{module} {arguments} ended with {ran.returncode}:\n{ran.stderr[-4000:]}"
        )
    return results[-1]


def _results(output: str) -> Iterator[str]:
    return (line.removeprefix(_RESULT) for line in output.splitlines() if line.startswith(_RESULT))
