"""The configurations of `make bench-methods`, and what one of them gave. Kept as JSON, so that an interrupted run goes on."""

import dataclasses
import json
from pathlib import Path
from typing import Self


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What is trained of the base, and how fast."""

    name: str
    learning_rate: float
    rank: int = 0
    """0: the whole model, without an adapter."""
    target_modules: tuple[str, ...] | None = None
    """Layers with an adapter; None: every linear one but the head."""

    @classmethod
    def of(cls, values: dict) -> Self:
        """Return what JSON made of one."""
        names = values["target_modules"]
        return cls(**values | {"target_modules": None if names is None else tuple(names)})

    @property
    def is_full(self) -> bool:
        return self.rank == 0


@dataclasses.dataclass(frozen=True)
class Task:
    """A configuration with what it is trained on: all that a child process must know."""

    configuration: Configuration
    base_dir: str
    training_path: str
    work_dir: str
    n_epochs: int
    batch_size: int
    seed: int

    def to_json(self) -> str:
        """Return it on one line."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        values = json.loads(text)
        return cls(configuration=Configuration.of(values.pop("configuration")), **values)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What a child process says of its training."""

    model_dir: str
    """An adapter, or a whole model."""
    trained_parameters: int
    saved_bytes: int
    """Of the weights."""
    cpu_seconds: float
    """Of the steps alone: without imports and loading."""
    peak_bytes: int
    """The largest resident set of the process."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a configuration gave with one seed."""

    configuration: Configuration
    seed: int
    trained: Trained
    seen: float
    """Share of test messages, in wordings of the training file, that are answered with the exact code."""
    unseen: float
    """The same in other wordings."""

    def write(self, path: Path) -> None:
        """Keep it, whole or not at all."""
        unfinished = path.with_suffix(".part")
        unfinished.write_text(json.dumps(dataclasses.asdict(self), indent=1), encoding="utf-8")
        unfinished.replace(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` kept."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            configuration=Configuration.of(values.pop("configuration")),
            trained=Trained(**values.pop("trained")),
            **values,
        )
