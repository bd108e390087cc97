"""An engine that answers from memory: `python -m tests.bench.canned_engine PORT`.

What it is asked does not matter but for `stream`; a streamed answer has CHUNKS pieces, each a number followed by the
time it was sent at, so that whoever reads can tell what was lost, reordered or late. A `seed` paces them: so many
milliseconds lie between two.
"""

import asyncio
import json
import sys
import time

import uvicorn

CHUNKS = 64
ANSWER = json.dumps(
    {
        "id": "chatcmpl-canned", "object": "chat.completion", "created": 1_760_000_000, "model": "canned",
        "choices": [
            {
                "index": 0, "logprobs": None, "finish_reason": "stop", "stop_reason": None,
                "message": {
                    "role": "assistant", "content": "word " * 64, "refusal": None, "tool_calls": [],
                },
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 64, "total_tokens": 84},
    }
).encode()  # fmt: skip


def event(delta: dict, *, finish: str | None = None) -> bytes:
    """One chunk, as vLLM words it."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {
        "id": "chatcmpl-canned", "object": "chat.completion.chunk", "created": 1_760_000_000,
        "model": "canned", "choices": [choice],
    }  # fmt: skip
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


USAGE = (
    b'data: {"id":"chatcmpl-canned","object":"chat.completion.chunk","created":1760000000,"model":"canned",'
    b'"choices":[],"usage":{"prompt_tokens":20,"completion_tokens":64,"total_tokens":84}}\n\n'
)
BEGIN = event({"role": "assistant", "content": ""})
END = event({"content": ""}, finish="stop")


async def app(scope, receive, send) -> None:
    """Answer."""
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    if scope["path"] == "/v1/models":
        models = {"object": "list", "data": [{"id": "canned", "root": "/", "max_model_len": 4096}]}
        await answer(send, json.dumps(models).encode())
    elif scope["path"] != "/v1/chat/completions":
        await answer(send, b"{}")
    else:
        body = b""
        more = True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        asked = json.loads(body)
        await (stream(send, asked) if asked.get("stream") else answer(send, ANSWER))


async def answer(send, content: bytes) -> None:
    """Send JSON."""
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def stream(send, asked: dict) -> None:
    """Send the chunks."""
    pause = (asked.get("seed") or 0) / 1000
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await piece(send, BEGIN)
    for number in range(CHUNKS):
        if pause:
            await asyncio.sleep(pause)
        await piece(send, event({"content": f"{number}:{time.monotonic_ns()} "}))
    await piece(send, END)
    if (asked.get("stream_options") or {}).get("include_usage"):
        await piece(send, USAGE)
    await piece(send, b"data: [DONE]\n\n")
    await send({"type": "http.response.body", "body": b""})


async def piece(send, content: bytes) -> None:
    """Send a part of a body."""
    await send({"type": "http.response.body", "body": content, "more_body": True})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False)
