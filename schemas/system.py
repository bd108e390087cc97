"""How the server is, as `/v1/system` shows it: an extension of ours."""

from collections.abc import Mapping
from typing import Literal

from schemas.base import Schema
from schemas.models import EngineCondition

CheckStatus = Literal["ok", "warn", "fail"]


class Check(Schema):
    """One thing that a machine must have, and whether it does."""

    name: str
    status: CheckStatus
    seen: str
    advice: str = ""
    """What to do, where there is something to do."""


class EngineStatus(Schema):
    """The engine of a base."""

    base: str
    state: EngineCondition
    message: str = ""
    """Why it failed."""
    n_adapters: int | None = None
    """That it holds just now, of all projects; null: nobody can tell."""


class Queue(Schema):
    """What waits and what runs, of all projects."""

    jobs: Mapping[str, int]
    """That are not over, by status; a status without any is left out."""
    batches: int
    """That are not over."""


class WorkerStatus(Schema):
    """A worker that is alive."""

    seen_at: float
    """Unix seconds."""
    trainer_bytes: int | None = None
    """Memory that a trainer of it may come to; null where it is not known, as on GPUs."""
    host: str | None = None
    """For admin keys."""
    pid: int | None = None
    """For admin keys."""


class Disk(Schema):
    """The disk of the data directory, in bytes."""

    total: int
    free: int
    used: Mapping[str, int]
    """By `files`, `uploads` (parts), `adapters`, `work` (of jobs that run) and `bases`."""


class System(Schema):
    """The answer to `GET /v1/system`."""

    object: Literal["system"] = "system"
    ready: bool
    """Whether a job could run and a model could answer."""
    readiness: Mapping[str, str]
    """What was looked at for that: `ok`, or what is wrong and what to do."""
    engines: list[EngineStatus]
    queue: Queue
    workers: list[WorkerStatus]
    disk: Disk
    versions: Mapping[str, str]
    """Of the packages that matter, as far as this process has them."""
    checks: list[Check] | None = None
    """Those of `retune doctor` that a server can make; null but for admin keys: they tell of paths."""
