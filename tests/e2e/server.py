"""A whole server as a user starts it, and the means to hurt it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from openai import OpenAI

KEY = "sk-e2e"
START_SECONDS = 60


@dataclass
class Server:
    """A running `retune serve`."""

    process: subprocess.Popen[bytes]
    port: int
    data_dir: Path
    log_path: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def client(self, **options) -> OpenAI:
        """OpenAI's SDK, as it is installed."""
        return OpenAI(base_url=self.url, api_key=KEY, **options)

    def pids(self, words: str) -> list[int]:
        """Processes below the server whose command line holds `words`."""
        return [pid for pid in descendants(self.process.pid) if words in command_line(pid)]

    def kill(self, words: str) -> int:
        """Kill -9 every process below the server whose command line holds `words`; wait for one to be there."""
        pids = wait_for(lambda: self.pids(words), seconds=30, what=f"a process {words!r}")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def stop(self) -> int:
        """Press Ctrl-C and wait."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@contextlib.contextmanager
def running_server(
    data_dir: Path, *arguments: str, ready: str = "/ready", **variables: str
) -> Iterator[Server]:
    """Start a server and stop it at the end; nothing of it is left."""
    port = free_port()
    log_path = data_dir.parent / f"server-{port}.log"
    environment = os.environ | {
        "RETUNE_DATA_DIR": str(data_dir),
        "RETUNE_API_KEY": KEY,
        "PYTHONUNBUFFERED": "1",
        "RETUNE_REPORT_EXAMPLES": "0",  # a hundred answers after each job; who wants them says so
        **variables,
    }
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api.cli.main", "serve", "--port", str(port), *arguments],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    server = Server(process, port, data_dir, log_path)
    try:
        wait_for(lambda: is_ready(server, ready), seconds=START_SECONDS, what="ready", log=log_path)
        yield server
    finally:
        left = descendants(process.pid)
        if process.poll() is None:
            server.stop()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def is_ready(server: Server, path: str) -> bool:
    if server.process.poll() is not None:
        raise AssertionError(f"the server ended: {server.log_path.read_text()[-3000:]}")
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait_for(look, *, seconds, what, log=None):
    """Return what `look` finds; fail when it finds nothing for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    tail = log.read_text()[-3000:] if log else ""
    raise AssertionError(f"{what}: not within {seconds} s. {tail}")


def descendants(pid: int) -> list[int]:
    """Every process below `pid`, whatever its session."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
