"""A batch's input file: what its lines must be, and reading them one at a time."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import JsonValue

from schemas.base import Schema
from schemas.batches import (
    MAX_EMBEDDING_INPUTS,
    MAX_ERRORS,
    MAX_INPUT_BYTES,
    MAX_LINE_BYTES,
    MAX_REQUESTS,
    BatchEndpoint,
    BatchError,
    RequestLine,
)
from schemas.errors import InvalidRequest
from schemas.strict_json import decode_json
from schemas.validation import validated

_SHOWN: Final = 100
"""Characters of a user's own string that a finding repeats."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank."""

    number: int
    """From 1, blank lines counted."""
    content: bytes | None
    """None: longer than `MAX_LINE_BYTES`."""


class Request(Schema):
    """A line of a file that was found good."""

    number: int
    custom_id: str
    body: dict[str, JsonValue]


class Findings(Schema):
    """What a file is, as a batch's input."""

    total: int
    """Requests, good or not."""
    model: str
    """Whom they ask; empty where no line says so."""
    errors: list[BatchError]
    """What is wrong, the first `MAX_ERRORS`; none: it can be run."""


class InputCheck:
    """Looks at each line in turn, and remembers what must not come twice."""

    def __init__(self, endpoint: BatchEndpoint) -> None:
        self._endpoint = endpoint
        self._model = ""
        self._total = 0
        self._embedding_inputs = 0
        self._errors: list[BatchError] = []
        self._custom_ids: set[bytes] = set()

    @property
    def is_enough(self) -> bool:
        """Whether no further line could change the outcome."""
        return (
            len(self._errors) >= MAX_ERRORS
            or self._total > MAX_REQUESTS
            or self._embedding_inputs > MAX_EMBEDDING_INPUTS
        )

    def look_at(self, line: Line) -> None:
        """Check one line."""
        self._total += 1
        if self._total > MAX_REQUESTS:
            return
        request = self._request(line)
        if request is None:
            return
        self._check_custom_id(line, request.custom_id)
        self._check_url(line, request.url)
        self._check_model(line, request.body.get("model"))
        if self._endpoint == "/v1/embeddings":
            self._embedding_inputs += _count_inputs(request.body.get("input"))
        if request.body.get("stream"):
            self._find(
                "unsupported_value",
                "Unsupported value: 'body.stream' does not support true in a batch.",
                line=line,
                param="body.stream",
            )

    def findings(self) -> Findings:
        """Return what was found."""
        if self._total == 0:
            self._find("empty_file", "The input file holds no request. Put one on each line.")
        if self._total > MAX_REQUESTS:
            self._find(
                "too_many_tasks",
                f"The input file holds more than {MAX_REQUESTS:,} requests. Split it into several batches.",
            )
        if self._embedding_inputs > MAX_EMBEDDING_INPUTS:
            self._find(
                "too_many_inputs",
                f"The requests of the input file hold more than {MAX_EMBEDDING_INPUTS:,} inputs. Split it "
                "into several batches.",
            )
        return Findings(total=self._total, model=self._model, errors=self._errors)

    def _request(self, line: Line) -> RequestLine | None:
        if line.content is None:
            self._find(
                "request_too_large",
                f"This line is longer than the {MAX_LINE_BYTES} bytes that a request may have.",
                line=line,
            )
            return None
        try:
            value = decode_json(line.content)
        except InvalidRequest:
            self._find("invalid_json_line", "This line is not parseable as valid JSON.", line=line)
            return None
        try:
            return validated(RequestLine, value)
        except InvalidRequest as exc:
            self._find(exc.code or "invalid_request", exc.message, line=line, param=exc.param)
            return None

    def _check_custom_id(self, line: Line, custom_id: str) -> None:
        # Digests: 50,000 ids of 512 characters would be 25 MB.
        digest = hashlib.blake2b(custom_id.encode(), digest_size=16).digest()
        if digest in self._custom_ids:
            self._find(
                "duplicate_custom_id",
                f"The custom_id '{custom_id[:_SHOWN]}' for this request is a duplicate of another request. "
                "The custom_id parameter must be unique for each request in a batch.",
                line=line,
                param="custom_id",
            )
        self._custom_ids.add(digest)

    def _check_url(self, line: Line, url: str) -> None:
        if url != self._endpoint:
            self._find(
                "invalid_url",
                "The URL provided for this request does not prefix-match the batch endpoint.",
                line=line,
                param="url",
            )

    def _check_model(self, line: Line, model: JsonValue) -> None:
        if not isinstance(model, str) or not model:
            self._find(
                "missing_required_parameter",
                "Missing required parameter: 'body.model'.",
                line=line,
                param="body.model",
            )
        elif not self._model:
            self._model = model
        elif model != self._model:
            self._find(
                "mismatched_model",
                f"The model '{model[:_SHOWN]}' for this request does not match the rest of the batch. "
                "Each batch must contain requests for a single model.",
                line=line,
                param="body.model",
            )

    def _find(
        self, code: str, message: str, *, line: Line | None = None, param: str | None = None
    ) -> None:
        if len(self._errors) < MAX_ERRORS:
            number = None if line is None else line.number
            self._errors.append(BatchError(code=code, line=number, message=message, param=param))


def _count_inputs(value: JsonValue) -> int:
    """Return how many vectors a request for some asks for, good or not."""
    is_several = isinstance(value, list) and not any(isinstance(one, int) for one in value[:1])
    return len(value) if isinstance(value, list) and is_several else 1


def check_input(path: Path, endpoint: BatchEndpoint, *, stop: Callable[[], bool]) -> Findings:
    """Look at every line of a file, in flat memory, or until `stop` says so. Blocking.

    Raises:
        FileNotFoundError: It is gone.
    """
    if path.stat().st_size > MAX_INPUT_BYTES:
        message = f"The input file is larger than {MAX_INPUT_BYTES // 2**20} MB. Split it into several batches."
        error = BatchError(code="file_too_large", message=message)
        return Findings(total=0, model="", errors=[error])
    check = InputCheck(endpoint)
    for line in read_lines(path):
        check.look_at(line)
        if check.is_enough or stop():
            break
    return check.findings()


def read_requests(path: Path) -> Iterator[Request]:
    """Yield the requests of a file that was found good. Blocking."""
    for line in read_lines(path):
        assert line.content is not None, "the file was found good"
        request = validated(RequestLine, decode_json(line.content))
        yield Request(number=line.number, custom_id=request.custom_id, body=request.body)


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines that are not blank, holding at most one of them. Blocking."""
    with path.open("rb") as file:
        number = 0
        while content := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            if len(content) > MAX_LINE_BYTES and not content.endswith(b"\n"):
                while (rest := file.readline(MAX_LINE_BYTES)) and not rest.endswith(b"\n"):
                    pass
                yield Line(number, None)
            elif content.strip():
                yield Line(number, content)
