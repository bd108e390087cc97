"""Files, as `/v1/files` shows them."""

from typing import Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from schemas.base import RequestBody, Schema

UploadPurpose = Literal["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
"""What a client may upload for."""

Purpose = Literal[
    "assistants",
    "assistants_output",
    "batch",
    "batch_output",
    "fine-tune",
    "fine-tune-results",
    "vision",
    "user_data",
    "evals",
]

MAX_FILE_BYTES = 512 * 2**20
"""OpenAI's limit on one file, in bytes."""


class ExpiresAfter(RequestBody):
    """When a file's bytes and record go, counted from its creation."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=3600, le=2_592_000)


class File(Schema):
    """An uploaded or produced file; its bytes are in `jobs.blobs`, under its id."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    """Unix seconds."""
    filename: str
    purpose: Purpose
    status: Literal["uploaded", "processed", "error"] = "processed"
    expires_at: int | None = None
    status_details: str | None = None

    @model_serializer(mode="wrap")
    def _without_nulls(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # OpenAI's schema types these two as strings or absent, never null.
        fields: dict[str, Any] = serialize(self)
        for name in ("expires_at", "status_details"):
            if fields.get(name) is None:
                fields.pop(name, None)
        return fields


class FileDeleted(Schema):
    """The answer to `DELETE /v1/files/{id}`."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
