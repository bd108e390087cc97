"""What happens to an answer when one of the two ends goes away."""

import json
import socket
import threading
from urllib.parse import urlsplit

import httpx
import pytest
from openai import InternalServerError, OpenAI

from tests.api_server import Server
from tests.polling import eventually

HOLD = [{"role": "user", "content": "hold"}]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_client_that_hangs_up(server: Server, stream: bool) -> None:
    """A client that goes away stops the generation, streaming or not."""
    stopped = server.engine.stopped_early
    body = json.dumps({"model": "nano", "messages": HOLD, "stream": stream})
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port)) as connection:
        connection.sendall(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        eventually(lambda: server.engine.generating)
        if stream:
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")
    eventually(lambda: server.engine.stopped_early == stopped + 1)
    eventually(lambda: not server.engine.generating)


def test_events_come_as_they_are_made(http: httpx.Client) -> None:
    """The first event arrives while the engine still works on the rest."""
    body = {"model": "nano", "messages": HOLD, "stream": True}
    with http.stream("POST", "/v1/chat/completions", json=body) as response:
        first = next(response.iter_lines())
    assert json.loads(first.removeprefix("data: "))["choices"][0]["delta"]["role"] == "assistant"


def test_many_streams_at_once(client: OpenAI) -> None:
    """Streams side by side do not mix."""
    ids: list[set[str]] = []

    def ask() -> None:
        messages = [{"role": "user", "content": "hello"}]
        stream = client.chat.completions.create(model="nano", messages=messages, stream=True)
        ids.append({chunk.id for chunk in stream})

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found) for found in ids] == [1] * 20
    assert len(set.union(*ids)) == 20


def test_engine_that_does_not_start(client: OpenAI, server: Server) -> None:
    """Where the engine cannot start, the client is told why, and when to try again."""
    server.fail_engine("lost", "its model directory is gone")
    with pytest.raises(InternalServerError, match="does not start: its model") as raised:
        client.chat.completions.create(model="lost", messages=HOLD)
    assert (raised.value.status_code, raised.value.code) == (503, "server_is_overloaded")
    seconds = int(raised.value.response.headers["retry-after"])
    assert int(raised.value.response.headers["retry-after-ms"]) == seconds * 1000
