"""Our exceptions, each one an OpenAI error.

    ApiError                       500  server_error
    ├── InvalidRequest             400  invalid_request_error
    │   ├── IdempotencyKeyReused        param Idempotency-Key
    │   └── PreviousResponseNotFound    param previous_response_id, code previous_response_not_found
    ├── Unauthorized               401  invalid_request_error
    │   └── MissingScope
    ├── Forbidden                  403  invalid_request_error
    ├── NotFound                   404  invalid_request_error
    │   ├── FileNotFound                param id
    │   ├── UploadNotFound              param id
    │   ├── JobNotFound                 param fine_tune_id, code fine_tune_not_found
    │   ├── BatchNotFound
    │   ├── ResponseNotFound
    │   ├── CompletionNotFound
    │   └── ModelNotFound               param model,        code model_not_found
    ├── MethodNotAllowed           405  invalid_request_error
    ├── Conflict                   409  invalid_request_error
    ├── StillAtWork                409  invalid_request_error
    ├── PayloadTooLarge            413  invalid_request_error
    │   └── StorageQuotaReached
    ├── UnsupportedMediaType       415  invalid_request_error
    ├── LimitReached               429  invalid_request_error
    ├── RateLimited                429  requests, tokens or upload bytes
    ├── ModelServerUnavailable     503  service_unavailable_error
    ├── StoreUnavailable           503  server_error
    └── StorageFull                507  server_error

    JobFailure                     not HTTP: ends a job, with the code and words its `error` will show

Raise one anywhere; `api.errors` is the only place that turns an ApiError into a response.
"""

from typing import ClassVar

from schemas.base import Schema


class ErrorBody(Schema):
    """The `error` member of an error response. All four keys are always sent."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorResponse(Schema):
    """The body of every response of ours with a status of 400 or more."""

    error: ErrorBody


class ApiError(Exception):
    """Something the client should be told, in words it can act on.

    Args:
        message: What is wrong and, where we can say, what would be right.
        param: The request field at fault, such as `training_file` or `messages[0].role`.
        code: A stable word for programs to switch on, such as `model_not_found`.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidRequest(ApiError):
    """The request can never succeed as it stands."""

    status = 400
    type = "invalid_request_error"


class IdempotencyKeyReused(InvalidRequest):
    """The key was used for another request."""

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request: the path or the body differ. Use a "
            "new key for a new request, and the same only to repeat one.",
            param="Idempotency-Key",
            code="idempotency_key_reused",
        )


class PreviousResponseNotFound(InvalidRequest):
    """There is no such stored response to go on from."""

    def __init__(self, response_id: str) -> None:
        super().__init__(
            f"Previous response with id '{response_id}' not found.",
            param="previous_response_id",
            code="previous_response_not_found",
        )


class Unauthorized(ApiError):
    """No API key came with the request, or not one of ours."""

    status = 401
    type = "invalid_request_error"


class MissingScope(Unauthorized):
    """The key is restricted to other things; in OpenAI's words, and with OpenAI's status."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"You have insufficient permissions for this operation. Missing scopes: {scope}. "
            "Check that you have the correct role in your organization (Reader, Writer, Owner) and "
            "project (Member, Owner), and if you're using a restricted API key, that it has the "
            "necessary scopes."
        )


class Forbidden(ApiError):
    """The key is good, but not for this."""

    status = 403
    type = "invalid_request_error"


class NotFound(ApiError):
    """There is no such thing, or it belongs to another project."""

    status = 404
    type = "invalid_request_error"


class FileNotFound(NotFound):
    """There is no such file."""

    def __init__(self, file_id: str) -> None:
        super().__init__(f"No such File object: {file_id}", param="id")


class UploadNotFound(NotFound):
    """There is no such upload."""

    def __init__(self, upload_id: str) -> None:
        super().__init__(f"No such Upload object: {upload_id}", param="id")


class JobNotFound(NotFound):
    """There is no such fine-tuning job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(
            f"Could not find fine tune: {job_id}", param="fine_tune_id", code="fine_tune_not_found"
        )


class BatchNotFound(NotFound):
    """There is no such batch."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"No batch found with id '{batch_id}'.")


class ResponseNotFound(NotFound):
    """There is no such stored response."""

    def __init__(self, response_id: str) -> None:
        super().__init__(f"Response with id '{response_id}' not found.")


class CompletionNotFound(NotFound):
    """There is no such kept chat completion."""

    def __init__(self, completion_id: str) -> None:
        super().__init__(
            f"Chat completion with id '{completion_id}' not found. Only completions that were created "
            "with 'store' set to true are kept.",
            param="completion_id",
        )


class ModelNotFound(NotFound):
    """There is no such model."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The model '{name}' does not exist", param="model", code="model_not_found"
        )


class MethodNotAllowed(ApiError):
    """The path exists, but not for this method."""

    status = 405
    type = "invalid_request_error"


class Conflict(ApiError):
    """The request does not go with the state that something is in.

    Asking again changes nothing, but the SDKs repeat every 409; so it is sent with `x-should-retry: false`.
    """

    status = 409
    type = "invalid_request_error"


class StillAtWork(ApiError):
    """The same thing is being done right now; ask again in a moment.

    Sent with `x-should-retry: true`.

    Args:
        retry_after: Seconds; sent as `retry-after`.
    """

    status = 409
    type = "invalid_request_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: int = 1) -> None:
        super().__init__(message, param=param, code="request_in_progress")
        self.retry_after = retry_after


class PayloadTooLarge(ApiError):
    """The body is larger than this route takes."""

    status = 413
    type = "invalid_request_error"


class StorageQuotaReached(PayloadTooLarge):
    """The project's files may not take as many bytes together."""


class UnsupportedMediaType(ApiError):
    """The body is encoded in a way that this route does not read."""

    status = 415
    type = "invalid_request_error"


class LimitReached(ApiError):
    """A quota is used up; the same request may succeed when something ended, not within seconds."""

    status = 429
    type = "invalid_request_error"


class RateLimited(ApiError):
    """A limit by the minute or day is reached; the same request succeeds when the bucket has filled.

    Args:
        message: In OpenAI's words.
        kind: `requests`, `tokens` or `upload bytes`: what there was too much of; the error's `type`.
        retry_after: Seconds until it has filled far enough; sent as `retry-after`.
        headers: That tell of the limits.
    """

    status = 429

    def __init__(
        self, message: str, *, kind: str, retry_after: float, headers: dict[str, str]
    ) -> None:
        super().__init__(message, code="rate_limit_exceeded")
        self.type = kind  # type: ignore[misc]  # OpenAI's type says which limit it was
        self.retry_after = retry_after
        self.headers = headers


class ModelServerUnavailable(ApiError):
    """The engine is not up, or did not answer; the same request may succeed later.

    Args:
        retry_after: Seconds after which a client should try again; sent as `retry-after`.
    """

    status = 503
    type = "service_unavailable_error"

    def __init__(self, message: str, *, retry_after: int = 5) -> None:
        super().__init__(message, code="server_is_overloaded")
        self.retry_after = retry_after


class StoreUnavailable(ApiError):
    """The database does not answer; the same request may succeed later."""

    status = 503


class StorageFull(ApiError):
    """There is no room left for the bytes; nothing was kept."""

    status = 507


class JobFailure(Exception):
    """Ends a job: what its `error` will say.

    Args:
        message: For the user; names the example and line where it can.
        code: One of OpenAI's (`invalid_training_file`, …) or ours (`adapter_not_proven`, …).
        param: `training_file`, `validation_file` or None.
    """

    def __init__(self, message: str, *, code: str, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
