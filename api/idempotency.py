"""Safe retries: a request that made something is recognised when it comes again."""

import hashlib
import re
import time
from collections.abc import Callable
from typing import Final

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPRequestEvent,
    HTTPScope,
    Message,
    Receive,
    ReceiveMessage,
    Scope,
    Send,
)

from api.bodies import ApiRequest, body_chunks
from api.scopes import scopes_for
from jobs import idempotency
from jobs.keys import Caller
from jobs.services import Services
from jobs.store.idempotency import Answer, Attempt
from schemas.errors import InvalidRequest

_JOBS: Final = "/fine_tuning/jobs"
_MAKERS: Final = {
    "/batches": re.compile(r"/batches"),
    "/fine_tuning/checkpoints/{model}/permissions": re.compile(
        r"/fine_tuning/checkpoints/[^/]+/permissions"
    ),
    _JOBS: re.compile(_JOBS),
    "/uploads": re.compile(r"/uploads"),
    "/uploads/{upload_id}/complete": re.compile(r"/uploads/[^/]+/complete"),
    "/webhook_endpoints": re.compile(r"/webhook_endpoints"),
}
"""POSTs that make something and are asked in JSON. Not: questions to models, whose answers are long and
cost nothing to lose; files, whose bodies are; keys, which nobody keeps."""
_PREFIX: Final = re.compile(r"^(/openai)?(/v1)?(?=/)")
_MAX_BODY_BYTES: Final = 1024 * 1024
_MAX_KEY: Final = 255
"""Characters, as at Stripe, whose rules these are."""


class RepeatsRecognised:
    """Honours `Idempotency-Key`, and knows the SDKs' own retries of a job's creation.

    An answer of success is kept for a day and given again, with `idempotent-replayed: true`. What was
    refused, or broke, is not kept: it made nothing.
    """

    def __init__(self, app: ASGIApp, services: Callable[[], Services]) -> None:
        self._app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the layers inside, or answer in their stead.

        Raises:
            InvalidRequest: The key is too long, or was used for another request.
            StillAtWork: The same request is being worked on.
        """
        operation = _operation(scope) if scope["type"] == ScopeType.HTTP else None
        key = Headers.from_scope(scope).get("idempotency-key") if operation else None
        if operation is None or (key is None and operation != _JOBS):
            await self._app(scope, receive, send)
            return
        chunks = body_chunks(receive, limit=_MAX_BODY_BYTES)
        body = b"".join([chunk async for chunk in chunks])
        attempt = _attempt(scope, body, key=key)
        scope.setdefault("state", {})["attempt"] = attempt
        answer = await self._earlier(scope, attempt)
        if answer is not None:
            await _replay(answer, send)
        elif key is None:
            await self._app(scope, _again(body, receive), send)
        else:
            await self._first(scope, attempt, _again(body, receive), send)

    async def _earlier(self, scope: Scope, attempt: Attempt) -> Answer | None:
        services = self._services()
        if attempt.idempotency_key is not None:
            return await idempotency.begin(services, attempt, holder=_holder(scope))
        job = await idempotency.job_of_earlier_try(services, attempt)
        return None if job is None else Answer(status=200, body=job.model_dump_json())

    async def _first(self, scope: Scope, attempt: Attempt, receive: Receive, send: Send) -> None:
        response: list[Message] = []

        async def hold_back(message: Message) -> None:
            response.append(message)

        try:
            await self._app(scope, receive, hold_back)
        finally:
            # Before the client has it: who asks again the next moment gets the same.
            await idempotency.end(
                self._services(), attempt, holder=_holder(scope), answer=_success(response)
            )
        for message in response:
            await send(message)


def is_recognised(template: str) -> bool:
    """Whether a POST to `/files/{file_id}` and its like honours `Idempotency-Key`."""
    return template in _MAKERS


def attempt_of(request: ApiRequest) -> Attempt | None:
    """Return which try a request is, for what records it together with what it makes."""
    attempt: Attempt | None = request.scope["state"].get("attempt")
    return attempt


def _operation(scope: HTTPScope) -> str | None:
    """Return the template of what a request makes; None where it makes nothing, or may not."""
    caller: Caller | None = scope.get("user")
    if scope["method"] != "POST" or caller is None:
        return None
    path = _PREFIX.sub("", scope["raw_path"].decode("latin-1")).rstrip("/")
    template = next((name for name, form in _MAKERS.items() if form.fullmatch(path)), None)
    # An answer that a key may not ask for is not given again to it either.
    if template is None or caller.scopes.isdisjoint(scopes_for("POST", template)):
        return None
    return template


def _attempt(scope: Scope, body: bytes, *, key: str | None) -> Attempt:
    if key is not None and not 0 < len(key) <= _MAX_KEY:
        raise InvalidRequest(
            f"Invalid 'Idempotency-Key': expected 1 to {_MAX_KEY} characters, but got {len(key)}.",
            param="Idempotency-Key",
            code="invalid_idempotency_key",
        )
    caller: Caller = scope["user"]
    path = _PREFIX.sub("", scope["raw_path"].decode("latin-1"))
    count = Headers.from_scope(scope).get("x-stainless-retry-count", "0")
    return Attempt(
        project_id=caller.project_id,
        key_id=caller.key_id,
        idempotency_key=key,
        request_sha256=hashlib.sha256(path.encode() + b"\n" + body).hexdigest(),
        retry_count=int(count) if re.fullmatch("[0-9]{1,4}", count) else 0,
        began_at=time.time(),
    )


def _holder(scope: Scope) -> str:
    holder: str = scope["state"]["request_id"]
    return holder


def _again(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body once more, then whatever really comes."""
    request: HTTPRequestEvent = {"type": "http.request", "body": body, "more_body": False}
    messages = [request]

    async def replayed() -> ReceiveMessage:
        return messages.pop() if messages else await receive()

    return replayed


def _success(response: list[Message]) -> Answer | None:
    """Return a whole response as what is kept of it, or None where it made nothing."""
    status = 500
    body = b""
    is_whole = False
    for message in response:
        if message["type"] == "http.response.start":
            status = message["status"]
        elif message["type"] == "http.response.body":
            body += message["body"]
            is_whole = not message.get("more_body", False)
    if not is_whole or not 200 <= status < 300:
        return None
    return Answer(status=status, body=body.decode())


async def _replay(answer: Answer, send: Send) -> None:
    body = answer.body.encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"idempotent-replayed", b"true"),
    ]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
