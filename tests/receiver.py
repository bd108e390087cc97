"""Somebody who receives webhooks: a real HTTP server in a thread, which answers as it is told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from tests.polling import eventually


class Received(NamedTuple):
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """What came, and what will be answered."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.status = 200
        self.headers: dict[str, str] = {}
        self.open = threading.Event()
        """While it is not set, nothing is answered."""
        self.open.set()
        self.url = ""

    def wait_for(self, count: int) -> list[Received]:
        """Return what came, once so many have come."""
        eventually(lambda: len(self.received) >= count)
        return self.received


@contextmanager
def running_receiver() -> Iterator[Receiver]:
    """Receive on a port of the system's choice."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            receiver.open.wait(30)
            try:
                self.send_response(receiver.status)
                for name, value in {"content-length": "0", **receiver.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
            except OSError:
                return  # the sender is gone

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/hook"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield receiver
        finally:
            receiver.open.set()
            server.shutdown()
            thread.join()
