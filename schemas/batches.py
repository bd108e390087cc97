"""Batches, as `/v1/batches` shows them, and the lines of their files."""

from typing import Final, Literal

from pydantic import AliasChoices, Field, JsonValue

from schemas.base import Metadata, RequestBody, Schema
from schemas.files import ExpiresAfter

MAX_REQUESTS: Final = 50_000
MAX_EMBEDDING_INPUTS: Final = 50_000
"""Of all requests of one batch together."""
MAX_INPUT_BYTES: Final = 200 * 2**20
MAX_LINE_BYTES: Final = 4 * 2**20
"""Of one request: what the live endpoints take."""
MAX_ERRORS: Final = 100
"""Findings that a failed batch lists; a file of 50,000 bad lines is no better understood by more."""
COMPLETION_SECONDS: Final = 24 * 3600
"""`completion_window`."""

BatchEndpoint = Literal[
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/images/edits",
    "/v1/videos",
]
"""What OpenAI runs in batches; which of them are there is for `jobs.batch_endpoints` to say."""

BatchStatus = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]


class BatchCreate(RequestBody):
    """The body of `POST /v1/batches`."""

    input_file_id: str = Field(min_length=1, max_length=64)
    endpoint: BatchEndpoint
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None
    """Counted from the creation of each file."""


class BatchError(Schema):
    """Something that keeps a batch from being run."""

    code: str
    line: int | None = None
    """Of the input file, from 1; None: the file as a whole."""
    message: str
    param: str | None = None
    """The line's field at fault, such as `body.model`."""


class BatchErrors(Schema):
    """Why a batch failed."""

    object: Literal["list"] = "list"
    data: list[BatchError]


class RequestCounts(Schema):
    """How far a batch is."""

    total: int = 0
    completed: int = 0
    """Lines of the output file."""
    failed: int = 0
    """Lines of the error file."""


class BatchInputDetails(Schema):
    """Of the input tokens, those that were not computed afresh."""

    cached_tokens: int = 0


class BatchOutputDetails(Schema):
    """Of the output tokens, those of thoughts."""

    reasoning_tokens: int = 0


class BatchUsage(Schema):
    """Tokens of all completed requests of a batch."""

    input_tokens: int = 0
    input_tokens_details: BatchInputDetails = BatchInputDetails()
    output_tokens: int = 0
    output_tokens_details: BatchOutputDetails = BatchOutputDetails()
    total_tokens: int = 0

    def __add__(self, other: "BatchUsage") -> "BatchUsage":
        """Return the tokens of both."""
        cached = self.input_tokens_details.cached_tokens + other.input_tokens_details.cached_tokens
        reasoning = (
            self.output_tokens_details.reasoning_tokens
            + other.output_tokens_details.reasoning_tokens
        )
        return BatchUsage(
            input_tokens=self.input_tokens + other.input_tokens,
            input_tokens_details=BatchInputDetails(cached_tokens=cached),
            output_tokens=self.output_tokens + other.output_tokens,
            output_tokens_details=BatchOutputDetails(reasoning_tokens=reasoning),
            total_tokens=self.total_tokens + other.total_tokens,
        )


class AnswerUsage(Schema):
    """The `usage` of an answer, by the names of whichever endpoint gave it."""

    input_tokens: int = Field(
        default=0, validation_alias=AliasChoices("input_tokens", "prompt_tokens")
    )
    input_tokens_details: BatchInputDetails = Field(
        default=BatchInputDetails(),
        validation_alias=AliasChoices("input_tokens_details", "prompt_tokens_details"),
    )
    output_tokens: int = Field(
        default=0, validation_alias=AliasChoices("output_tokens", "completion_tokens")
    )
    output_tokens_details: BatchOutputDetails = Field(
        default=BatchOutputDetails(),
        validation_alias=AliasChoices("output_tokens_details", "completion_tokens_details"),
    )
    total_tokens: int = 0

    def in_batch(self) -> BatchUsage:
        """Return the same by the names that batches use."""
        return BatchUsage(**dict(self))


class Batch(Schema):
    """Many requests, run when there is room, with files for what goes in and what comes out."""

    id: str
    object: Literal["batch"] = "batch"
    endpoint: BatchEndpoint
    model: str | None = None
    """As answers show it; known once the input file is validated."""
    errors: BatchErrors | None = None
    input_file_id: str
    completion_window: Literal["24h"] = "24h"
    status: BatchStatus = "validating"
    output_file_id: str | None = None
    error_file_id: str | None = None
    created_at: int
    """Unix seconds, as all that follow."""
    in_progress_at: int | None = None
    expires_at: int
    finalizing_at: int | None = None
    completed_at: int | None = None
    failed_at: int | None = None
    expired_at: int | None = None
    cancelling_at: int | None = None
    cancelled_at: int | None = None
    request_counts: RequestCounts = RequestCounts()
    usage: BatchUsage = BatchUsage()
    metadata: Metadata | None = None


class RequestLine(RequestBody):
    """A line of an input file."""

    custom_id: str = Field(min_length=1, max_length=512)
    method: Literal["POST"]
    url: str
    body: dict[str, JsonValue]


class LineResponse(Schema):
    """What an endpoint answered to a line, whatever the status."""

    status_code: int
    request_id: str
    body: JsonValue


class LineError(Schema):
    """Why a line was never asked."""

    code: str
    message: str


class ResultLine(Schema):
    """A line of an output or error file."""

    id: str
    custom_id: str
    response: LineResponse | None
    error: LineError | None
