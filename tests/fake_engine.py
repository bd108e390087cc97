"""An engine that answers as vLLM does, at once and with words we choose; the e2e tests ask a real one the same."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from aiohttp import web

from tests.fake_texts import embeddings, prompts_of, text_completion, text_events
from tests.polling import eventually

WORDS = ("Hel", "lo, ", "wörld", " 🙂")
OBJECT = ('{"city": ', '"Paris"}')
ARGUMENTS = ('{"city"', ': "Paris"}')
USAGE = {"prompt_tokens": 7, "completion_tokens": 4, "total_tokens": 11}


class FakeEngine:
    """vLLM's routes on a unix socket. What it was asked, and what became of it, can be looked at.

    A request's last message steers it: `hold` never ends the answer, `break` cuts the connection in the
    middle, `refuse` is answered with vLLM's own kind of 400, `fail` with a 500, `call` calls every tool that was offered, `json`
    is answered with an object, `cut` with words that end too early, and `say …` with what follows; `learned …` too, but
    only by adapters.
    """

    def __init__(self, socket: Path) -> None:
        self.url = f"unix://{socket}"
        self.requests: list[dict] = []
        self.adapters: dict[str, str] = {}
        self.generating = 0
        self.most_generating = 0
        self.stopped_early = 0
        self.answers_after = 0.0
        """Seconds."""
        self._socket = socket

    async def run(self, until: asyncio.Event, ready: threading.Event) -> None:
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/metrics", self._metrics),
                web.get("/v1/models", self._models),
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/unload_lora_adapter", self._unload),
                web.post("/v1/chat/completions", self._chat),
                web.post("/v1/completions", self._text),
                web.post("/v1/embeddings", self._embed),
            ]
        )
        # As uvicorn does for vLLM: a client that goes ends what it asked for.
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0)
        await runner.setup()
        await web.UnixSite(runner, str(self._socket)).start()
        ready.set()
        await until.wait()
        await runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _metrics(self, _: web.Request) -> web.Response:
        running = f'vllm:num_requests_running{{engine="0"}} {self.generating}.0'
        return web.Response(text=f'{running}\nvllm:num_requests_waiting{{engine="0"}} 0.0\n')

    async def _models(self, _: web.Request) -> web.Response:
        base = {"id": "base-fake", "root": "/base", "max_model_len": 1024}
        adapters = [{"id": name, "root": path} for name, path in self.adapters.items()]
        return web.json_response({"data": [base, *adapters]})

    async def _load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.adapters[asked["lora_name"]] = asked["lora_path"]
        return web.Response(text="Success")

    async def _unload(self, request: web.Request) -> web.Response:
        found = self.adapters.pop((await request.json())["lora_name"], None)
        return web.Response(status=404 if found is None else 200)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        wish = asked["messages"][-1].get("content")
        return await self._answer(request, asked, wish, _completion, _events)

    async def _text(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        wish = prompts_of(asked)[-1]
        return await self._answer(request, asked, wish, text_completion, text_events)

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        wish = str(asked["input"])
        return await self._answer(request, asked, wish, embeddings, text_events)

    async def _answer(
        self,
        request: web.Request,
        asked: dict,
        wish: str,
        whole: Callable[[dict], dict],
        events: Callable[[dict], Iterator[bytes]],
    ) -> web.StreamResponse:
        self.requests.append(asked)
        is_base = asked["model"].startswith("base-")
        if not is_base and asked["model"] not in self.adapters:
            return _error(404, f"The model `{asked['model']}` does not exist.", "NotFoundError")
        if wish == "refuse":
            return _error(
                400, "stop cannot contain an empty string. (parameter=stop)", "BadRequestError"
            )
        if wish == "fail":
            return _error(500, "the engine could not", "InternalServerError")
        self.generating += 1
        self.most_generating = max(self.most_generating, self.generating)
        try:
            await asyncio.sleep(self.answers_after)
            if asked.get("stream"):
                return await self._stream(request, events(asked), wish)
            if wish == "hold":
                await asyncio.Event().wait()
            return web.json_response(whole(asked))
        except asyncio.CancelledError:
            self.stopped_early += 1
            raise
        finally:
            self.generating -= 1

    async def _stream(
        self, request: web.Request, events: Iterator[bytes], wish: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for event in events:
            # In pieces, so that no event and no character arrives in one.
            await response.write(event[:11])
            await response.write(event[11:])
            if wish == "break":
                request.transport.abort()
                return response
            if wish == "hold":
                await asyncio.Event().wait()
        await response.write_eof()
        return response


@contextmanager
def running_fake_engine(socket: Path) -> Iterator[FakeEngine]:
    """Run an engine in a thread of its own."""
    engine = FakeEngine(socket)
    loop = asyncio.new_event_loop()
    until, ready = asyncio.Event(), threading.Event()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(engine.run(until, ready)), name="fake engine"
    )
    thread.start()
    eventually(ready.is_set)
    try:
        yield engine
    finally:
        loop.call_soon_threadsafe(until.set)
        thread.join()
        loop.close()


def _completion(asked: dict) -> dict:
    """Answer as vLLM 0.32 does, with the fields that OpenAI does not have."""
    words, calls, finish_reason = _said(asked)
    choice = {
        "message": {
            "role": "assistant", "content": "".join(words) or None, "refusal": None,
            "annotations": None, "audio": None, "function_call": None, "reasoning": None,
            "tool_calls": [
                call | {"function": {"name": name, "arguments": "".join(ARGUMENTS)}}
                for name, call in calls.items()
            ],
        },
        "logprobs": _logprobs(asked, words), "finish_reason": finish_reason, "stop_reason": None,
        "token_ids": None,
    }  # fmt: skip
    return {
        "id": "chatcmpl-internal", "object": "chat.completion", "created": 1_760_000_000,
        "model": asked["model"], "service_tier": None, "system_fingerprint": "vllm-0.32.0-abc",
        "choices": [{"index": index, **choice} for index in range(asked.get("n") or 1)],
        "usage": USAGE | {"prompt_tokens_details": None}, "prompt_logprobs": None,
        "prompt_token_ids": None, "kv_transfer_params": None,
    }  # fmt: skip


def _events(asked: dict) -> Iterator[bytes]:
    def event(choices: list[dict], **more) -> bytes:
        chunk = {
            "id": "chatcmpl-internal", "object": "chat.completion.chunk", "created": 1_760_000_000,
            "model": asked["model"], "choices": choices,
        }  # fmt: skip
        return b"data: " + json.dumps(chunk | more, ensure_ascii=False).encode() + b"\n\n"

    def choice(delta: dict, **more) -> dict:
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None} | more

    words, calls, finish_reason = _said(asked)
    end = {"finish_reason": finish_reason, "stop_reason": None}
    yield event([choice({"role": "assistant", "content": ""})])
    for word in words:
        more = {"logprobs": _logprobs(asked, [word])} | (end if word == words[-1] else {})
        yield event([choice({"content": word}, **more)])
    for index, (name, call) in enumerate(calls.items()):
        begun = call | {"index": index, "function": {"name": name, "arguments": ""}}
        yield event([choice({"tool_calls": [begun]})])
        for piece in ARGUMENTS:
            more = {"index": index, "function": {"arguments": piece}}
            yield event([choice({"tool_calls": [more]})])
    if calls:
        yield event([choice({}, **end)])
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield event([], usage=USAGE)
    yield b"data: [DONE]\n\n"


def _said(asked: dict) -> tuple[tuple[str, ...], dict[str, dict], str]:
    """Return words, calls by the function's name, and why the answer ends."""
    match asked["messages"][-1].get("content"):
        case "call" if asked.get("tools"):
            names = [tool["function"]["name"] for tool in asked["tools"]]
            calls = {
                name: {"id": f"chatcmpl-tool-{uuid4().hex}", "type": "function"} for name in names
            }
            return (), calls, "tool_calls"
        case "json":
            return OBJECT, {}, "stop"
        case "cut":
            return WORDS, {}, "length"
        case str(wish) if wish.startswith("learned ") and not asked["model"].startswith("base-"):
            return (wish.removeprefix("learned "),), {}, "stop"
        case str(wish) if wish.startswith("say "):
            return (wish.removeprefix("say "),), {}, "stop"
        case _:
            return WORDS, {}, "stop"


def _logprobs(asked: dict, words: Iterable[str]) -> dict | None:
    if not asked.get("logprobs"):
        return None
    tokens = [{"token": word, "logprob": -0.5, "bytes": list(word.encode())} for word in words]
    top = asked.get("top_logprobs") or 0
    return {"content": [token | {"top_logprobs": [token] * top} for token in tokens]}


def _error(status: int, message: str, kind: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)
