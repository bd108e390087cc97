"""Large files through a real server, and how its process grows: `python -m tests.bench.big_files`.

A file in parts (four at a time), its completion with MD5, its content; then a file in one piece. The data
is made on the way. Joining parts needs their size twice on disk.
"""

import argparse
import hashlib
import http.client
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.server import KEY, Server, running_server
from tests.servers import private_directory

MEGABYTE = 2**20
PART_MEGABYTES = 64
THREADS = 4
BOUNDARY = "----retune"
LIMIT_MEGABYTES = 64.0
"""By how much the process may grow."""


@dataclass(frozen=True)
class Measured:
    """One thing that was done."""

    what: str
    megabytes: int
    seconds: float
    growth: float
    """Of the API's resident memory, in megabytes, at its highest."""

    def __str__(self) -> str:
        speed = self.megabytes / self.seconds
        return f"{self.what:22} {self.megabytes:5} MB  {self.seconds:6.1f} s  {speed:6.0f} MB/s  +{self.growth:.1f} MB"


def measure(*, upload_megabytes: int, file_megabytes: int) -> Iterator[Measured]:
    """Start a server and yield what each step took."""
    with (
        private_directory("retune-big-") as directory,
        running_server(directory / "data", ready="/health") as server,
    ):
        for _ in range(3):  # what a process needs once
            send_file(server, "/v1/files", 8, field="file", form={"purpose": "user_data"})
        (api,) = server.pids("--only api")
        base = resident_megabytes(api)

        @contextmanager
        def timed(what: str, megabytes: int) -> Iterator[list[Measured]]:
            found: list[Measured] = []
            began = time.monotonic()
            with peak_memory(api) as peak:
                yield found
            seconds = time.monotonic() - began
            found.append(Measured(what, megabytes, seconds, max(peak) - base))

        with timed("parts of an upload", upload_megabytes) as found:
            upload, part_ids = send_parts(server, upload_megabytes)
        yield from found
        md5 = hashlib.md5(usedforsecurity=False)
        for number in range(upload_megabytes):
            md5.update(block(number))
        with timed("its completion", upload_megabytes) as found:
            done = ask(
                server,
                f"/v1/uploads/{upload}/complete",
                {"part_ids": part_ids, "md5": md5.hexdigest()},
            )
        yield from found
        assert done["file"]["bytes"] == upload_megabytes * MEGABYTE, done
        with timed("its content", upload_megabytes) as found:
            digest = content_md5(server, done["file"]["id"])
        yield from found
        assert digest == md5.hexdigest()
        with timed("a file in one piece", file_megabytes) as found:
            file = send_file(
                server, "/v1/files", file_megabytes, field="file", form={"purpose": "user_data"}
            )
        yield from found
        assert file["bytes"] == file_megabytes * MEGABYTE, file


def send_parts(server: Server, megabytes: int) -> tuple[str, list[str]]:
    """Create an upload and send its parts; return its id and theirs, in order."""
    asked = {"filename": "big.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload = ask(server, "/v1/uploads", asked | {"bytes": megabytes * MEGABYTE})["id"]

    def send(first: int) -> str:
        size = min(PART_MEGABYTES, megabytes - first)
        part = send_file(server, f"/v1/uploads/{upload}/parts", size, field="data", first=first)
        return str(part["id"])

    with ThreadPoolExecutor(THREADS) as threads:
        return upload, list(threads.map(send, range(0, megabytes, PART_MEGABYTES)))


def send_file(
    server: Server,
    path: str,
    megabytes: int,
    *,
    field: str,
    first: int = 0,
    form: dict[str, str] | None = None,
) -> dict:
    """Send a multipart form with so many megabytes, from block `first` on."""
    head = "".join(
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (form or {}).items()
    )
    head += f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="x"\r\n\r\n'
    tail = f"\r\n--{BOUNDARY}--\r\n"
    with connected(server) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {KEY}")
        connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
        connection.putheader("Content-Length", str(len(head) + megabytes * MEGABYTE + len(tail)))
        connection.endheaders()
        connection.send(head.encode())
        for number in range(first, first + megabytes):
            connection.send(block(number))
        connection.send(tail.encode())
        return answered(connection)


def ask(server: Server, path: str, body: dict) -> dict:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    with connected(server) as connection:
        connection.request("POST", path, json.dumps(body), headers)
        return answered(connection)


def content_md5(server: Server, file_id: str) -> str:
    """Read a file's content, and return its MD5."""
    headers = {"Authorization": f"Bearer {KEY}"}
    md5 = hashlib.md5(usedforsecurity=False)
    with connected(server) as connection:
        connection.request("GET", f"/v1/files/{file_id}/content", headers=headers)
        answer = connection.getresponse()
        while data := answer.read(MEGABYTE):
            md5.update(data)
    return md5.hexdigest()


def connected(server: Server) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=600))


def answered(connection: http.client.HTTPConnection) -> dict:
    answer = connection.getresponse()
    body = json.load(answer)
    assert answer.status == 200, body
    return body


LINE = b'{"messages": [{"role": "user", "content": "0123456789"}]}\n'
FILLING = LINE * (MEGABYTE // len(LINE)) + b" " * (MEGABYTE % len(LINE))


def block(number: int) -> bytes:
    """The file's megabyte of that number: lines, none like those of another."""
    return b"%016d" % number + FILLING[16:]


def resident_megabytes(pid: int) -> float:
    """What `ps` calls RSS."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"{pid} has no memory")


@contextmanager
def peak_memory(pid: int) -> Iterator[list[float]]:
    """Look at a process's memory twenty times a second; the list is complete at the end."""
    seen = [resident_megabytes(pid)]
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            seen.append(resident_megabytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def megabytes_that_fit(wanted: int) -> int:
    """Return `wanted`, or a third of the free disk where that is less."""
    with private_directory("retune-big-") as directory:
        return min(wanted, shutil.disk_usage(directory).free // MEGABYTE // 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upload", type=int, default=8192, help="megabytes (default: %(default)s)")
    parser.add_argument("--file", type=int, default=512, help="megabytes (default: %(default)s)")
    options = parser.parse_args()
    size = megabytes_that_fit(options.upload)
    if size < options.upload:
        print(f"The disk has room for {size} MB instead of {options.upload}.")
    highest = 0.0
    for measured in measure(upload_megabytes=size, file_megabytes=options.file):
        print(measured, flush=True)
        highest = max(highest, measured.growth)
    print(f"Grown by at most {highest:.1f} MB; {LIMIT_MEGABYTES:.0f} MB are allowed.")


if __name__ == "__main__":
    main()
