"""Values that tests begin with."""

import time

from jobs.store.batches import BatchPlan, BatchRecord
from jobs.store.records import FileRecord, JobRecord, Plan, UploadRecord
from schemas.batches import Batch
from schemas.completions import Choice, Message, Usage
from schemas.files import File
from schemas.fine_tuning import Hyperparameters, Job, Method, Supervised
from schemas.ids import new_hex_id, new_id
from schemas.report import JobReport, Measure
from schemas.stored_completions import StoredCompletion
from schemas.uploads import Upload


def completion(**update) -> StoredCompletion:
    """A kept answer of one word."""
    fields = {
        "id": new_id("chatcmpl-"),
        "created": int(time.time()),
        "model": "retune-nano",
        "choices": [Choice(index=0, message=Message(content="Yes"), finish_reason="stop")],
        "usage": Usage(prompt_tokens=1, completion_tokens=1, total_tokens=2),
    }
    return StoredCompletion(**fields | update)


def job(**update) -> Job:
    """A job as `create` makes it."""
    numbers = Hyperparameters()
    fields = {
        "id": new_id("ftjob-"),
        "created_at": int(time.time()),
        "model": "retune-nano",
        "organization_id": "local",
        "status": "queued",
        "training_file": "file-train",
        "hyperparameters": numbers,
        "method": Method(supervised=Supervised(hyperparameters=numbers)),
        "seed": 1,
    }
    return Job(**fields | update)


def record(project_id="proj_a", **update) -> JobRecord:
    """A job's record, nobody's yet."""
    return JobRecord(job=job(**update), project_id=project_id, base="retune-nano", plan=Plan())


def measure(**update) -> Measure:
    """Eight examples, of which the tuned model gets six and the base one."""
    fields = {
        "name": "exact_match", "n": 8, "base": 0.125, "tuned": 0.75, "difference": 0.625,
        "interval": (0.25, 0.875), "p_value": 0.0625, "n_better": 5, "n_worse": 0,
        "verdict": "cannot_tell",
    }  # fmt: skip
    return Measure(**fields | update)


def job_report(**update) -> JobReport:
    """What a job shows of a report that is done."""
    fields = {
        "status": "done", "file_id": "file-report", "source": "validation_file",
        "headline": measure(),
    }  # fmt: skip
    return JobReport(**fields | update)


def batch_record(project_id="proj_a", **update) -> BatchRecord:
    """A batch as `create` makes it, nobody's yet."""
    now = int(time.time())
    fields = {
        "id": new_hex_id("batch_"),
        "endpoint": "/v1/chat/completions",
        "input_file_id": "file-in",
        "created_at": now,
        "expires_at": now + 60,
    }
    plan = BatchPlan(key_id="key_1")
    return BatchRecord(batch=Batch(**fields | update), project_id=project_id, plan=plan)


def file(**update) -> File:
    """A file of five bytes."""
    fields = {
        "id": new_id("file-"),
        "bytes": 5,
        "created_at": int(time.time()),
        "filename": "a.jsonl",
        "purpose": "fine-tune",
    }
    return File(**fields | update)


def upload(project_id="proj_a", **update) -> UploadRecord:
    """An upload of five bytes, pending."""
    fields = {
        "id": new_id("upload_"),
        "bytes": 5,
        "created_at": int(time.time()),
        "filename": "a.jsonl",
        "purpose": "fine-tune",
        "status": "pending",
        "expires_at": int(time.time()) + 3600,
    }
    return UploadRecord(
        upload=Upload(**fields | update),
        project_id=project_id,
        mime_type="text/jsonl",
        file_id=new_id("file-"),
    )


def file_record(project_id="proj_a") -> FileRecord:
    """Whose file it is."""
    return FileRecord(project_id=project_id, sha256="0" * 64)
