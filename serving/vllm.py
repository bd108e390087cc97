"""vLLM over HTTP. The only module that speaks it, and the only one that reads vLLM's errors.

vLLM's own routes take file paths and any model name, so it listens on a private unix socket (or a private
network) and nothing here forwards a client's string: names are internal ones, paths are ours.
"""

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self

import aiohttp
from pydantic import ValidationError
from pydantic_core import to_json

from schemas.base import Schema
from schemas.errors import ApiError, InvalidRequest, JobFailure, ModelServerUnavailable
from serving.event_stream import EventSplitter

_CONNECT_SECONDS: Final = 2.0
_PROBE_SECONDS: Final = 5.0
_LOAD_SECONDS: Final = 30.0
_SCORE_SECONDS: Final = 300.0
_IDLE_SECONDS: Final = 4.0
"""vLLM closes a connection that rested for 5 s; a request sent at that moment would be lost."""
_UNIX: Final = "unix://"
_NO_SUCH_ROUTE: Final = frozenset({401, 403, 404, 405, 501})

Route = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
"""What an engine is asked on behalf of clients."""

_ASKED_IN: Final[dict[Route, str]] = {
    "/v1/chat/completions": "messages",
    "/v1/completions": "prompt",
    "/v1/embeddings": "input",
}
"""The field of a client's request that the engine reads as text."""


class AdapterMissing(ModelServerUnavailable):
    """vLLM does not know this adapter (it restarted, perhaps): load it, then ask again."""


class NotOffered(ModelServerUnavailable):
    """The operator's engine, or what stands before it, does not serve this route."""


class AdapterRejected(JobFailure):
    """An adapter that must not be served, or that vLLM refuses to load: another try would fail as well."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The adapter cannot be served: {reason}", code="adapter_rejected", param=None
        )
        self.reason = reason


class Answer:
    """An answer that vLLM has begun to give; leaving its `async with` stops the generation."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response

    async def read(self) -> bytes:
        """Return the whole body; of a stream, use `events`.

        Raises:
            ModelServerUnavailable: vLLM went away before the end.
        """
        try:
            return await self._response.read()
        except aiohttp.ClientError as exc:
            raise _went_away() from exc

    async def events(self) -> AsyncIterator[bytes]:
        r"""Yield each server-sent event as soon as it is whole, with the blank line that ends it.

        TCP cuts and joins events as it likes; what is yielded never does.

        Raises:
            ModelServerUnavailable: vLLM went away before the end.
        """
        splitter = EventSplitter()
        try:
            async for piece in self._response.content.iter_any():
                for event in splitter.feed(piece):
                    yield event
        except aiohttp.ClientError as exc:
            raise _went_away() from exc


class Vllm:
    """One vLLM server, for as long as the `async with` lasts.

    Args:
        url: `unix:///run/x/vllm.sock`, `http://host:8000`, …
        api_key: What the server asks for, where it is the operator's own.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        self.url = url
        self._socket = url.removeprefix(_UNIX) if url.startswith(_UNIX) else None
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = (
            aiohttp.UnixConnector(self._socket, limit=0, keepalive_timeout=_IDLE_SECONDS)
            if self._socket
            else aiohttp.TCPConnector(limit=0, keepalive_timeout=_IDLE_SECONDS)
        )
        self._session = aiohttp.ClientSession(
            "http://vllm" if self._socket else self.url,
            connector=connector,
            headers=self._headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
        )
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def is_healthy(self) -> bool:
        """Whether vLLM answers and its engine lives."""
        try:
            await self._get("/health")
        except ApiError:
            return False
        return True

    async def list_models(self) -> set[str]:
        """Return the names that vLLM answers to: the base's and its adapters'."""
        return {model.id for model in await self._served()}

    async def list_adapters(self) -> set[str]:
        """Return the names of the adapters that vLLM holds.

        Raises:
            ModelServerUnavailable: vLLM is not there.
        """
        return {model.id for model in await self._served() if not model.max_model_len}

    async def base_name(self) -> str:
        """Return the name that vLLM gives its base; it has a context length, adapters do not.

        Raises:
            ModelServerUnavailable: vLLM is not there, or serves no base.
        """
        for model in await self._served():
            if model.max_model_len:
                return model.id
        raise ModelServerUnavailable("The model server serves no model yet. Please try again.")

    async def context_length(self) -> int:
        """Return the limit on prompt and answer together, in tokens.

        Raises:
            ModelServerUnavailable: vLLM is not there.
        """
        return min(model.max_model_len for model in await self._served() if model.max_model_len)

    async def load_adapter(self, name: str, path: Path) -> None:
        """Make the adapter at `path` answer to `name`; loading it twice is no error.

        Args:
            name: Internal, and never reused for other weights: vLLM keys its prefix cache by it.
            path: Absolute, as vLLM's machine sees it; it must stay as it is for as long as that server runs.

        Raises:
            AdapterRejected: vLLM refuses it, or already serves another adapter under this name.
            ModelServerUnavailable: vLLM is not there, or did not answer within 30 s.
        """
        # Never `load_inplace`: vLLM would read the files again at every step of the engine.
        status, body = await self._send(
            "/v1/load_lora_adapter",
            {"lora_name": name, "lora_path": str(path)},
            seconds=_LOAD_SECONDS,
        )
        if status == 200:
            return
        refusal = _Refusal.parse(status, body)
        if refusal.is_already_loaded:
            if name not in {m.id for m in await self._served() if m.root == str(path)}:
                raise AdapterRejected("another adapter is loaded under its name.")
        elif refusal.is_about_adapter:
            raise AdapterRejected(_clean(refusal.message))
        else:
            raise refusal.to_error()

    async def unload_adapter(self, name: str) -> None:
        """Make vLLM forget `name`; answers that are under way end as they would have.

        It is no error where there is none. The files must stay: vLLM keeps the weights for a while and may
        read them again.

        Raises:
            ModelServerUnavailable: vLLM is not there.
        """
        status, body = await self._send(
            "/v1/unload_lora_adapter", {"lora_name": name}, seconds=_LOAD_SECONDS
        )
        if status not in {200, 404}:
            raise _Refusal.parse(status, body).to_error()

    async def prompt_logprobs(
        self, model: str, token_ids_batch: Sequence[Sequence[int]]
    ) -> list[list[float | None]]:
        """Return how likely each token of each sequence is, given those before it.

        Args:
            model: The base's internal name or an adapter's.
            token_ids_batch: Each of at least one token and shorter than the context.

        Returns:
            For each sequence a list as long as it: log p(token | before), in nats; None for the first.

        Raises:
            AdapterMissing: vLLM does not know `model`.
            InvalidRequest: A sequence is too long, or vLLM computed numbers that are not finite.
            ModelServerUnavailable: vLLM is not there.
        """
        request = {
            "model": model,
            "prompt": [list(ids) for ids in token_ids_batch],
            "prompt_logprobs": 0,  # the tokens themselves, no alternatives
            "max_tokens": 1,
            "temperature": 0,
        }
        status, body = await self._send("/v1/completions", request, seconds=_SCORE_SECONDS)
        if status != 200:
            raise _Refusal.parse(status, body).to_error()
        choices = _Scores.model_validate_json(body).choices
        return [
            [
                place[token].logprob if place else None
                for token, place in zip(ids, choice.prompt_logprobs, strict=True)
            ]
            for ids, choice in zip(token_ids_batch, choices, strict=True)
        ]

    async def tokenize(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None = None,
        *,
        model: str | None = None,
        add_generation_prompt: bool = True,
    ) -> list[int]:
        """Return the token ids that vLLM would answer to: its own rendering of the chat template.

        Raises:
            InvalidRequest: The template refuses the conversation.
            NotOffered: There is no such route.
            ModelServerUnavailable: vLLM is not there.
        """
        request = {
            "model": model,
            "messages": messages,
            "tools": tools,
            "add_generation_prompt": add_generation_prompt,
        }
        status, body = await self._send("/tokenize", request, seconds=_LOAD_SECONDS)
        if status != 200:
            refusal = _Refusal.parse(status, body)
            # vLLM has words of its own for a model that it does not know.
            if status in _NO_SUCH_ROUTE and not refusal.message:
                raise NotOffered("The model server does not tell how it renders conversations.")
            raise refusal.to_error()
        return _Tokens.model_validate_json(body).tokens

    async def count_running(self) -> int:
        """Return how many requests vLLM works on or keeps waiting.

        Raises:
            ModelServerUnavailable: vLLM is not there.
        """
        metrics = await self._get("/metrics")
        counts = re.findall(
            rb"^vllm:num_requests_(?:running|waiting)\{[^}]*\} (\S+)$", metrics, re.MULTILINE
        )
        return sum(int(float(count)) for count in counts)

    def chat(self, body: bytes | Mapping[str, Any]) -> AbstractAsyncContextManager[Answer]:
        """Ask for a chat completion; see `ask`."""
        return self.ask("/v1/chat/completions", body)

    @asynccontextmanager
    async def ask(self, route: Route, body: bytes | Mapping[str, Any]) -> AsyncIterator[Answer]:
        r"""Ask for an answer: `read` it, or, with `"stream": true` in the body, iterate its `events`.

        An error is raised before the first byte, while a status can still be sent. There is no time limit: a
        caller that gives up leaves the block (or is cancelled), which closes the connection and so stops the
        generation at once.

        Args:
            route: What is asked for.
            body: The request, checked and with internal names: `model`, and `cache_salt` (at most 128
                characters, none of `@/\\`) so that projects share no prefix cache.

        Raises:
            AdapterMissing: vLLM does not know the model: load it and ask again.
            InvalidRequest: The request cannot be answered, in OpenAI's words where we know them.
            ModelServerUnavailable: vLLM is not there, or failed.
        """
        content = body if isinstance(body, bytes) else to_json(body)
        try:
            response = await self._http.post(
                route,
                data=content,
                headers={"Content-Type": "application/json"},
            )
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise _went_away() from exc
        try:
            if response.status != 200:
                refused = await Answer(response).read()
                refusal = _Refusal.parse(response.status, refused)
                raise refusal.to_error(asked_in=_ASKED_IN[route])
            yield Answer(response)
        finally:
            # Not `release`: a connection with an unread rest must not go on generating.
            response.close()

    @property
    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None, "use `async with Vllm(...)`"
        return self._session

    async def _served(self) -> list["_Served"]:
        return _Models.model_validate_json(await self._get("/v1/models")).data

    async def _get(self, path: str) -> bytes:
        timeout = aiohttp.ClientTimeout(total=_PROBE_SECONDS, sock_connect=_CONNECT_SECONDS)
        try:
            async with self._http.get(path, timeout=timeout) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise _went_away() from exc
        if response.status != 200:
            raise _Refusal.parse(response.status, body).to_error()
        return body

    async def _send(
        self, path: str, request: Mapping[str, Any], *, seconds: float
    ) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS)
        try:
            async with self._http.post(path, json=request, timeout=timeout) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise _went_away() from exc


class _Served(Schema):
    id: str
    root: str
    """Where its files lie."""
    max_model_len: int | None = None
    """Given for the base only."""


class _Models(Schema):
    data: list[_Served]


class _Tokens(Schema):
    tokens: list[int]


class _Score(Schema):
    logprob: float


class _Scored(Schema):
    prompt_logprobs: list[dict[int, _Score] | None]


class _Scores(Schema):
    choices: list[_Scored]


class _VllmError(Schema):
    message: str = ""
    param: str | None = None


class _VllmErrorBody(Schema):
    error: _VllmError


class _Refusal(Schema):
    """What vLLM answered with a status of 400 or more (`vllm/entrypoints/serve/exception_handling`)."""

    status: int
    message: str
    param: str | None

    @classmethod
    def parse(cls, status: int, body: bytes) -> Self:
        """Read an error's body; one of another shape has no message."""
        try:
            error = _VllmErrorBody.model_validate_json(body).error
        except ValidationError:
            error = _VllmError()
        return cls(
            status=status,
            message=error.message[:_READ_CHARACTERS],
            param=error.param and error.param.removeprefix("body."),
        )

    @property
    def is_already_loaded(self) -> bool:
        """Whether an adapter of this name is there."""
        return self.status == 400 and "has already been loaded" in self.message

    @property
    def is_about_adapter(self) -> bool:
        """Whether loading failed by the adapter's fault; vLLM says 500 to most of these."""
        return (self.status == 404 and "No adapter found" in self.message) or (
            self.status == 500 and "add_lora" in self.message
        )

    def to_error(self, *, asked_in: str = "messages") -> ApiError:
        """Return the error to raise: OpenAI's sentence for what we know, else vLLM's without its insides.

        Args:
            asked_in: The field of the request that was too long, where it was.
        """
        if self.status == 404:
            return AdapterMissing("The model is being loaded. Please try again.", retry_after=1)
        if self.status >= 500 or self.status in {401, 403, 405}:
            return ModelServerUnavailable("The model server could not answer. Please try again.")
        for pattern, translate in _KNOWN.items():
            if found := pattern.search(self.message):
                return translate(found, asked_in)
        return InvalidRequest(_clean(self.message), param=self.param, code="invalid_value")


def _context_length(found: re.Match[str], asked_in: str) -> InvalidRequest:
    limit, given, unit = found[1], found[2], found[3].removeprefix("input ")
    return InvalidRequest(
        f"This model's maximum context length is {limit} tokens. However, your {asked_in} resulted in "
        f"{given} {unit}. Please reduce the length of the {asked_in}.",
        param=asked_in,
        code="context_length_exceeded",
    )


def _max_tokens(found: re.Match[str], _: str) -> InvalidRequest:
    name, asked, limit = found[1], found[2], found[3]
    return InvalidRequest(
        f"{name} is too large: {asked}. This model supports at most {limit} completion tokens, "
        f"whereas you provided {asked}.",
        param=name,
        code="invalid_value",
    )


def _no_images(_: re.Match[str], asked_in: str) -> InvalidRequest:
    return InvalidRequest(
        "Invalid content type. image_url is only supported by certain models.",
        param=asked_in,
        code="invalid_value",
    )


_KNOWN: Final = {
    # `vllm/renderers/params.py`; vLLM stops counting tokens at the limit, and may count only characters.
    re.compile(
        r"maximum context length is (\d+) tokens.*contains ((?:at least )?\d+) (input tokens|characters)"
    ): _context_length,
    re.compile(r"^(max_(?:completion_)?tokens)=(\d+) cannot be greater than max_model_len=(\d+)"): (
        _max_tokens
    ),
    re.compile(r"is not a multimodal model"): _no_images,
}
"""Refusals that OpenAI also gives, and how to say them in its words."""

_READ_CHARACTERS: Final = 2000
"""Of a message, which may repeat the request: the patterns below take quadratic time for some texts."""
_PYDANTIC: Final = re.compile(r"'loc': '(?:body\.)?([^']*)', 'msg': (['\"])(.*?)\2, ")
_INSIDES: Final = (
    (re.compile(r"^Loading lora \S+ failed: |^Call to add_lora method failed: "), ""),
    (re.compile(r"\s*\(parameter=.*", re.DOTALL), ""),  # whose end may have been cut off
    (re.compile(r"\b(?:base|adapter)-[0-9A-Za-z]+\b"), "the model"),  # internal names
    (re.compile(r"<path>|(?<![\w.])(?:/[\w.\-]+){2,}"), "its directory"),
    (re.compile(r"\bvLLM\b", re.IGNORECASE), "the model server"),
)


def _clean(message: str) -> str:
    """Return vLLM's message without its Python, its paths and our internal names."""
    if found := _PYDANTIC.search(message):
        message = f"Invalid value for '{found[1]}': {found[3]}."
    for pattern, instead in _INSIDES:
        message = pattern.sub(instead, message)
    return message.strip() or "The model server refused the request."


def _went_away() -> ModelServerUnavailable:
    return ModelServerUnavailable("The model server did not answer. Please try again.")
