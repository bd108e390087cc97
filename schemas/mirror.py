"""What the worker and the process that mirrors a job to Weights & Biases say to each other: a JSON value a line."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from schemas.base import Schema


class MirrorStart(Schema):
    """The first line: which run to write to."""

    kind: Literal["start"] = "start"
    run_id: str
    """The same each time that a job is taken up again: the run goes on."""
    project: str
    entity: str | None
    name: str
    tags: list[str]
    config: dict[str, JsonValue]
    directory: Path
    """Where offline runs are kept."""


class MirrorStep(Schema):
    """A step's metrics."""

    kind: Literal["step"] = "step"
    step: int
    metrics: dict[str, float]


class MirrorEnd(Schema):
    """The last line."""

    kind: Literal["end"] = "end"
    outcome: Literal["succeeded", "failed", "interrupted"]
    """`interrupted`: paused, or to be taken up by another worker; the run may go on."""
    summary: dict[str, JsonValue] = Field(default_factory=dict)


class MirrorAnswer(Schema):
    """The one line that comes back, once the run is there or cannot be."""

    url: str | None = None
    """None offline."""
    problem: str | None = None
    """Why nothing is mirrored."""


MirrorLine = Annotated[MirrorStart | MirrorStep | MirrorEnd, Field(discriminator="kind")]
mirror_line: TypeAdapter[MirrorStart | MirrorStep | MirrorEnd] = TypeAdapter(MirrorLine)
"""Reads one line of the mirroring process's standard input."""
