"""What the store gives back, where the wire's shapes are not enough."""

from typing import Literal

from schemas.base import Schema
from schemas.fine_tuning import Job
from schemas.scopes import Restriction
from schemas.uploads import Upload, UploadStatus


class Plan(Schema):
    """What a job was told at its creation and the wire does not show."""

    suffix: str = ""
    init_adapter_id: str | None = None
    """The adapter it goes on from."""
    n_examples: int = 0
    """Counted by validation."""
    n_trained_tokens: int = 0
    """That are learned from, in one epoch; counted by validation."""


class JobRecord(Schema):
    """A job, whose it is, and who works on it."""

    job: Job
    project_id: str
    base: str
    plan: Plan
    attempt: int = 0
    """The fence. A worker may write only while this is the number of its own claim."""
    owner: str | None = None
    lease_until: float = 0.0
    next_run_at: float = 0.0
    infra_failures: int = 0
    is_pausing: bool = False
    """The user asked for a pause that is not there yet (`jobs.pausing`)."""


class FileRecord(Schema):
    """What `files` holds beside the wire's fields."""

    project_id: str
    sha256: str


class UploadRecord(Schema):
    """An upload, whose it is, and the file that it will make."""

    upload: Upload
    """`status` as it was written: see `status_at`."""
    project_id: str
    mime_type: str
    file_id: str
    """Known from the start: what a crash leaves of the file, the next try replaces."""
    file_lifetime: int | None = None
    """Seconds from the file's creation."""

    def status_at(self, now: int) -> UploadStatus:
        """Return the status at `now` (Unix seconds), whether its end was written yet or not."""
        if self.upload.status == "pending" and self.upload.expires_at <= now:
            return "expired"
        return self.upload.status


class PartRecord(Schema):
    """Some bytes of an upload's."""

    id: str
    upload_id: str
    bytes: int
    created_at: int


class ModelRecord(Schema):
    """A tuned model, or a checkpoint that can be asked."""

    name: str
    project_id: str
    organization_id: str
    base: str
    adapter_id: str
    job_id: str
    created_at: int


class KeyRecord(Schema):
    """An API key, without the key."""

    id: str
    project_id: str
    """Empty: an admin key, which opens no project."""
    organization_id: str
    name: str
    hint: str
    created_at: int
    service_account_id: str | None = None
    scopes: tuple[Restriction, ...] = ()
    """What it is restricted to; empty: to nothing."""
    expires_at: int | None = None
    revoked_at: int | None = None
    last_used_at: int | None = None

    @property
    def is_admin(self) -> bool:
        """Whether it administers the organization."""
        return not self.project_id


class ProjectRecord(Schema):
    """A tenant."""

    id: str
    organization_id: str
    name: str
    created_at: int
    archived_at: int | None = None


class ServiceAccountRecord(Schema):
    """Somebody who is no person."""

    id: str
    project_id: str
    name: str
    role: Literal["owner", "member", "none"]
    created_at: int


EngineState = Literal["stopped", "starting", "ready", "failed"]


class EngineRecord(Schema):
    """What is wanted of an engine, and how it is."""

    base: str
    wanted_at: float
    """Unix seconds; 0: nobody asked yet."""
    state: EngineState
    message: str = ""


class TrainerMemory(Schema):
    """What a trainer of a worker may come to."""

    total_bytes: int
    """If nothing else ran there; of each process, where several train together."""
    bytes_each: int
    """Of a number of the base: 2 where the worker's processor computes in bfloat16, else 4."""


class WorkerRecord(Schema):
    """A worker that was alive at `seen_at`."""

    id: str
    host: str
    pid: int
    seen_at: float
    trainer: TrainerMemory | None = None
    """None where it is not known: its trainers use a GPU, or the system does not tell."""


class Fenced(Exception):
    """The job is no longer the caller's: somebody else claimed it, or it is over."""
