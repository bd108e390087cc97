"""Multipart forms, streamed: a file of any size passes through, and only its name and fields are kept."""

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

from multipart import (  # type: ignore[import-untyped]  # has annotations, but no py.typed
    MultipartError,
    MultipartSegment,
    ParserLimitReached,
    PushMultipartParser,
)
from pydantic import Field, JsonValue

from api.bodies import ApiRequest, body_chunks, check_headers
from jobs import files
from jobs.blobs import IncomingBlob
from jobs.keys import Caller
from jobs.limits.limiter import Limiter
from jobs.services import Services
from schemas.base import RequestBody, Schema
from schemas.errors import InvalidRequest, PayloadTooLarge
from schemas.files import MAX_FILE_BYTES, ExpiresAfter, File, UploadPurpose
from schemas.uploads import MAX_PART_BYTES
from schemas.validation import validated

_MAX_FIELD_BYTES: Final = 64 * 1024
_MAX_HEADER_BYTES: Final = 4096
_OVERHEAD_BYTES: Final = 2**20
"""Of boundaries, headers and fields, beside the file."""
_CONTROL_CHARACTER: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UploadForm(Schema):
    """What came with a file."""

    filename: str
    """As the client names it: data, never a path of ours."""
    purpose: UploadPurpose
    expires_after: ExpiresAfter | None = None


class FileForm(RequestBody):
    """The form of `POST /v1/files`, for the API's description."""

    file: bytes
    purpose: UploadPurpose
    anchor: Literal["created_at"] | None = Field(default=None, alias="expires_after[anchor]")
    seconds: int | None = Field(default=None, alias="expires_after[seconds]", ge=3600, le=2_592_000)
    """The file ends so long after its creation."""


class PartForm(RequestBody):
    """The form of `POST /v1/uploads/{id}/parts`, for the API's description."""

    data: bytes


@asynccontextmanager
async def admitted(
    request: ApiRequest, limiter: Limiter, incoming: IncomingBlob
) -> AsyncGenerator[None]:
    """Count a body that the context receives into `incoming` against what its key may send in a minute.

    A length that was announced counts beforehand. Any other counts once it is known, and is let in unless
    the key has to wait already.

    Raises:
        RateLimited: The key uploads too much; nothing was read.
    """
    announced = request.content_length
    await limiter.admit_upload(request.user, announced or 0)
    try:
        yield
    finally:
        if announced is None:
            limiter.count_upload(request.user, incoming.size)


async def receive_file(request: ApiRequest, services: Services, caller: Caller) -> File:
    """Take the file of a form, and record it.

    Raises:
        ApiError: The key uploads too much, the form is none, or the file is of no use.
    """
    async with (
        services.blobs.incoming() as incoming,
        admitted(request, services.limiter, incoming),
    ):
        form = await receive_upload(request, incoming)
        return await files.create(
            services,
            caller,
            await incoming.finish(),
            filename=form.filename,
            purpose=form.purpose,
            expires_after=form.expires_after,
        )


async def receive_upload(
    request: ApiRequest, incoming: IncomingBlob, *, max_bytes: int = MAX_FILE_BYTES
) -> UploadForm:
    """Write the part `file` to `incoming` as it comes, and return the form around it, in any order.

    Raises:
        InvalidRequest: It is no such form, or a field is wrong.
        PayloadTooLarge: The file is larger than `max_bytes`.
        StorageFull: There is no room.
        ClientGone: The client hung up.
    """
    form = _Form(incoming, _FILE_FORM, max_bytes=max_bytes)
    await _read(request, form, limit=max_bytes + _OVERHEAD_BYTES)
    return form.finished()


async def receive_among(
    request: ApiRequest, incoming: IncomingBlob, *, file: str, fields: frozenset[str]
) -> tuple[str, dict[str, str]]:
    """Write one part of a form of a page to `incoming` as it comes.

    Args:
        request: Its body unread.
        incoming: Takes the bytes.
        file: The name of the part; where nothing was chosen, it is empty and has no name.
        fields: What else the form may hold.

    Returns:
        The file's name, and the other fields.

    Raises:
        ApiError: As `receive_upload`.
    """
    expected = _Expected(file=file, fields=fields, is_named=True, most_parts=len(fields) + 1)
    form = _Form(incoming, expected, max_bytes=MAX_FILE_BYTES)
    await _read(request, form, limit=MAX_FILE_BYTES + _OVERHEAD_BYTES)
    form.ensure_whole()
    return form.filename, form.fields


async def receive_part(
    request: ApiRequest, incoming: IncomingBlob, *, max_bytes: int = MAX_PART_BYTES
) -> None:
    """Write the one field of a part's form, `data`, to `incoming` as it comes.

    Raises:
        ApiError: As `receive_upload`.
    """
    form = _Form(incoming, _PART_FORM, max_bytes=max_bytes)
    await _read(request, form, limit=max_bytes + _OVERHEAD_BYTES)
    form.ensure_whole()


@dataclass(frozen=True, slots=True)
class _Expected:
    """What a form is made of."""

    file: str
    """The part whose bytes are streamed."""
    fields: frozenset[str]
    is_named: bool
    """Whether the file must have a name; curl sends bytes without one, as in OpenAI's own example."""
    most_parts: int = 8


_FILE_FORM: Final = _Expected(
    file="file",
    fields=frozenset({"purpose", "expires_after[anchor]", "expires_after[seconds]"}),
    is_named=True,
)
_PART_FORM: Final = _Expected(file="data", fields=frozenset(), is_named=False)


async def _read(request: ApiRequest, form: "_Form", *, limit: int) -> None:
    check_headers(request, limit=limit)
    try:
        with PushMultipartParser(
            _boundary(request, form.expected),
            max_header_size=_MAX_HEADER_BYTES,
            max_segment_count=form.expected.most_parts,
        ) as parser:
            async for chunk in body_chunks(request.receive, limit=limit):
                for event in parser.parse(chunk):
                    await form.take(event)
    except ParserLimitReached as exc:
        raise InvalidRequest(f"Your multipart form has too much of it: {exc}.") from exc
    except MultipartError as exc:
        raise InvalidRequest(f"We could not parse your multipart form: {exc}.") from exc


def _boundary(request: ApiRequest, expected: _Expected) -> str:
    media_type, options = request.content_type
    if media_type != "multipart/form-data":
        parts = " and ".join(f"'{name}'" for name in _required(expected))
        raise InvalidRequest(
            f"This takes 'multipart/form-data' with {parts}, but the request's content type is "
            f"'{media_type}'.",
            param=expected.file,
        )
    boundary = options.get("boundary", "")
    if not re.fullmatch(r"[\x21-\x7e ]{1,200}", boundary):
        raise InvalidRequest("The Content-Type header names no usable multipart boundary.")
    return boundary


class _Form:
    """Takes a form's parts, one event of the parser at a time."""

    def __init__(self, incoming: IncomingBlob, expected: _Expected, *, max_bytes: int) -> None:
        self.expected = expected
        self._incoming = incoming
        self._max_bytes = max_bytes
        self._has_file = False
        self.filename = ""
        self.fields: dict[str, str] = {}
        self._part: MultipartSegment | None = None
        self._text = bytearray()

    async def take(self, event: MultipartSegment | bytes | bytearray | None) -> None:
        """Take the head of a part, some of its bytes, or None: its end."""
        if isinstance(event, MultipartSegment):
            self._begin(event)
        elif event is None:
            self._end()
        else:
            await self._add(event)

    def ensure_whole(self) -> None:
        """Say that the file is missing, where it is."""
        if not self._has_file:
            raise InvalidRequest(
                f"Missing required parameter: '{self.expected.file}'.",
                param=self.expected.file,
                code="missing_required_parameter",
            )

    def finished(self) -> UploadForm:
        """Return the form around a file, or say what it lacks."""
        self.ensure_whole()
        expiry: dict[str, JsonValue] = {
            name.removeprefix("expires_after[").removesuffix("]"): _number_or_text(value)
            for name, value in self.fields.items()
            if name != "purpose"
        }
        form: dict[str, JsonValue] = {"filename": self.filename}
        if "purpose" in self.fields:
            form["purpose"] = self.fields["purpose"]
        if expiry:
            form["expires_after"] = expiry
        return validated(UploadForm, form)

    def _begin(self, part: MultipartSegment) -> None:
        self._part = part
        name = str(part.name)
        if name == self.expected.file:
            self._begin_file(part)
        elif name not in self.expected.fields:
            raise InvalidRequest(
                f"Unknown parameter: '{name[:100]}'.", param=name[:100], code="unknown_parameter"
            )
        elif name in self.fields:
            raise InvalidRequest(f"The form has '{name}' twice.", param=name)

    def _begin_file(self, part: MultipartSegment) -> None:
        name = self.expected.file
        if self._has_file:
            raise InvalidRequest(f"The form has '{name}' twice: send one at a time.", param=name)
        if part.filename is None and self.expected.is_named:
            raise InvalidRequest(
                f"Invalid type for '{name}': expected a file, but got a string instead.",
                param=name,
                code="invalid_type",
            )
        if _CONTROL_CHARACTER.search(part.filename or ""):
            raise InvalidRequest("The file's name holds control characters.", param=name)
        self._has_file = True
        self.filename = part.filename or ""

    async def _add(self, data: bytes | bytearray) -> None:
        assert self._part is not None, "the parser names a part before its bytes"
        if self._part.name == self.expected.file:
            if self._part.bytes_received > self._max_bytes:
                raise PayloadTooLarge(
                    f"'{self.expected.file}' is too large: at most {self._max_bytes} bytes are taken "
                    "at a time.",
                    param=self.expected.file,
                )
            await self._incoming.write(bytes(data))
        else:
            self._text += data
            if len(self._text) > _MAX_FIELD_BYTES:
                raise InvalidRequest(
                    f"The field '{self._part.name}' is longer than {_MAX_FIELD_BYTES} bytes.",
                    param=self._part.name,
                )

    def _end(self) -> None:
        assert self._part is not None, "the parser ends what it began"
        if self._part.name != self.expected.file:
            name = str(self._part.name)
            try:
                self.fields[name] = self._text.decode()
            except UnicodeDecodeError as exc:
                raise InvalidRequest(f"The field '{name}' is not UTF-8.", param=name) from exc
            self._text.clear()


def _required(expected: _Expected) -> list[str]:
    return [expected.file, *(["purpose"] if "purpose" in expected.fields else [])]


def _number_or_text(value: str) -> int | str:
    """Return what a form's text stands for, so that the schema can say what is wrong with it."""
    return int(value) if re.fullmatch(r"-?[0-9]{1,18}", value) else value
