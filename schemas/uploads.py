"""Uploads, as `/v1/uploads` shows them: large files that arrive in parts."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import RequestBody, Schema
from schemas.files import ExpiresAfter, File, UploadPurpose

MAX_UPLOAD_BYTES = 8 * 2**30
"""OpenAI's limit on a file that arrives in parts, in bytes."""
MAX_PART_BYTES = 64 * 2**20
"""OpenAI's limit on one part, in bytes."""
MAX_PARTS = 10_000
"""Of one upload: ours. 128 of the largest make the largest file."""

UploadStatus = Literal["pending", "completed", "cancelled", "expired"]


class UploadCreate(RequestBody):
    """The body of `POST /v1/uploads`."""

    filename: Annotated[
        str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")
    ]
    purpose: UploadPurpose
    bytes: int = Field(ge=0, le=MAX_UPLOAD_BYTES)
    mime_type: str = Field(max_length=255)
    """Not looked at: clients send many for the same JSON Lines."""
    expires_after: ExpiresAfter | None = None
    """Of the file, counted from its own creation."""


class UploadComplete(RequestBody):
    """The body of `POST /v1/uploads/{id}/complete`."""

    part_ids: list[Annotated[str, Field(max_length=64)]] = Field(min_length=1, max_length=MAX_PARTS)
    """In the file's order."""
    md5: str | None = Field(default=None, max_length=64)
    """Of the whole file, hex."""


class Upload(Schema):
    """A file on its way; complete, it holds the file."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    """As announced; the parts must come to exactly this."""
    created_at: int
    """Unix seconds."""
    filename: str
    purpose: UploadPurpose
    status: UploadStatus
    expires_at: int
    file: File | None = None


class UploadPart(Schema):
    """Some of an upload's bytes, safe on disk."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str
