"""An upload and kill -9: what was acknowledged stays, what was not leaves nothing."""

import contextlib
import hashlib
import http.client
import threading
from pathlib import Path

import httpx

from tests.bench.big_files import answered, ask, block, connected, content_md5, send_file
from tests.e2e.server import KEY, Server, is_ready, running_server, wait_for
from tests.polling import eventually

MEGABYTES = 96


def test_kill_after_a_part_and_during_completion(short_tmp_path: Path) -> None:
    """Parts that were acknowledged outlive the API's death; a completion that it cut off can be asked for again."""
    with running_server(short_tmp_path / "data", ready="/health") as server:
        asked = {"filename": "a", "purpose": "user_data", "mime_type": "text/plain"}
        upload = ask(server, "/v1/uploads", asked | {"bytes": MEGABYTES * 2**20})["id"]
        path = f"/v1/uploads/{upload}"
        parts = [
            send_file(server, f"{path}/parts", 48, field="data", first=first)["id"]
            for first in (0, 48)
        ]
        kill_while(server, lambda: begin_part(server, f"{path}/parts"))

        md5 = hashlib.md5(b"".join(map(block, range(MEGABYTES))), usedforsecurity=False).hexdigest()
        body = {"part_ids": parts, "md5": md5}
        kill_while(server, lambda: ask(server, f"{path}/complete", body))
        again = httpx.post(
            f"http://127.0.0.1:{server.port}{path}/complete",
            json=body,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        assert again.status_code == 200, again.text
        assert content_md5(server, again.json()["file"]["id"]) == md5
        assert not any((server.data_dir / "blobs" / "parts").iterdir())


def begin_part(server: Server, path: str) -> None:
    """Send the beginning of a part, and wait for an answer that will not come."""
    with connected(server) as connection:
        connection.putrequest("POST", path)
        connection.putheader("Authorization", f"Bearer {KEY}")
        connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        connection.putheader("Content-Length", "30000000")
        connection.endheaders()
        head = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n'
        connection.send(head + b"x" * 2**22)
        answered(connection)


def kill_while(server: Server, work) -> None:
    """Kill -9 the API as soon as `work` has bytes on disk; return when it is up again."""
    incoming = server.data_dir / "blobs" / "incoming"
    before = set(incoming.iterdir())

    def until_killed() -> None:
        with contextlib.suppress(OSError, http.client.HTTPException):
            work()

    thread = threading.Thread(target=until_killed)
    thread.start()
    eventually(lambda: set(incoming.iterdir()) - before)
    server.kill("--only api")
    thread.join()
    assert set(incoming.iterdir()) - before, "it was done before it could be killed"
    wait_for(lambda: is_ready(server, "/health"), seconds=60, what="up again")
