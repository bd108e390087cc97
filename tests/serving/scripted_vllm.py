"""A server that does to `serving.vllm` what a real vLLM does not do on command.

It answers with scripted statuses and bodies (recorded from vLLM 0.32), cuts events where it is told and
breaks off. `tests/serving/test_real_engine.py` asks a real vLLM the same questions.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web


class ScriptedVllm:
    """vLLM's routes.

    Args:
        load_answers: Status and message of each load in turn; the last counts for all that follow.
        load_gate: Loads wait for it.
        chat_status: Of every chat request.
        chat_pieces: What is written for it, piece by piece.
        breaks_off: Whether the connection ends before the answer does.
        renders: Status and body of `/tokenize` for a request; None: there is no such route.
    """

    def __init__(
        self,
        *,
        load_answers: Sequence[tuple[int, str]] = ((200, "Success"),),
        load_gate: asyncio.Event | None = None,
        chat_status: int = 200,
        chat_pieces: Sequence[bytes] = (),
        breaks_off: bool = False,
        renders: Callable[[dict], tuple[int, str]] | None = None,
    ) -> None:
        self.loads: list[str] = []
        self.roots: dict[str, str] = {}
        self.load_gate = load_gate
        self.load_begun = asyncio.Event()
        self._load_answers = list(load_answers)
        self._chat_status = chat_status
        self._chat_pieces = chat_pieces
        self._breaks_off = breaks_off
        self.renders = renders
        self.asked_to_render: list[dict] = []

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._models),
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/chat/completions", self._chat),
            ]
        )
        if self.renders is not None:
            app.add_routes([web.post("/tokenize", self._tokenize)])
        return app

    async def _tokenize(self, request: web.Request) -> web.Response:
        self.asked_to_render.append(await request.json())
        status, body = self.renders(self.asked_to_render[-1])
        return web.Response(status=status, text=body)

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, _: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": n, "root": r} for n, r in self.roots.items()]})

    async def _load(self, request: web.Request) -> web.Response:
        self.loads.append((await request.json())["lora_name"])
        self.load_begun.set()
        if self.load_gate is not None:
            await self.load_gate.wait()
        status, message = (
            self._load_answers.pop(0) if len(self._load_answers) > 1 else self._load_answers[0]
        )
        return web.Response(status=status, text=error_body(message, code=status))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=self._chat_status)
        response.content_length = None
        await response.prepare(request)
        for piece in self._chat_pieces:
            await response.write(piece)
        if self._breaks_off:
            request.transport.abort()
        return response


def error_body(message: str, *, code: int = 400, param: str | None = None) -> str:
    error = {"message": message, "type": "BadRequestError", "param": param, "code": code}
    return json.dumps({"error": error})


@asynccontextmanager
async def serving(engine: ScriptedVllm, directory: Path) -> AsyncIterator[str]:
    """Serve it on a unix socket, and yield its URL."""
    runner = web.AppRunner(engine.app(), shutdown_timeout=0)
    await runner.setup()
    socket = directory / "vllm.sock"
    await web.UnixSite(runner, str(socket)).start()
    try:
        yield f"unix://{socket}"
    finally:
        await runner.cleanup()
