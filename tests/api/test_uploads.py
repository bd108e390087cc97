"""Uploads as clients really send them, and as they should not."""

import http.client
import json
import resource
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from litestar import Request

from api.bodies import ClientGone
from api.uploads import UploadForm, receive_upload
from jobs.blobs import Blobs
from schemas.errors import PayloadTooLarge
from tests.api_server import Server
from tests.polling import eventually

LINE = b'{"messages": []}\n'
BOUNDARY = "----b"
FILE = ("file", 'filename="a.jsonl"', LINE)
PURPOSE = ("purpose", "", b"fine-tune")


def form(*parts: tuple[str, str, bytes]) -> bytes:
    """Write a multipart body: each part a name, more of its Content-Disposition, and its bytes."""
    body = b""
    for name, more, content in parts:
        disposition = f'form-data; name="{name}"' + (f"; {more}" if more else "")
        head = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
        body += head.encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--\r\n".encode()


def post(http: httpx.Client, content: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    headers = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"} | headers
    return http.post("/v1/files", content=content, headers=headers)


@pytest.mark.parametrize("parts", [(FILE, PURPOSE), (PURPOSE, FILE)], ids=["file", "purpose"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_any_order_any_pieces(http: httpx.Client, parts: tuple, size: int) -> None:
    """File or purpose first, with a length or in chunks of any size: the file is the same."""
    body = form(*parts)
    chunks = (body[at : at + size] for at in range(0, len(body), size))
    file = post(http, chunks).raise_for_status().json()
    assert (file["bytes"], file["filename"]) == (len(LINE), "a.jsonl")
    assert http.get(f"/v1/files/{file['id']}/content").content == LINE


def test_boundary_in_the_content(http: httpx.Client) -> None:
    """Bytes that look like the beginning of a boundary are the file's."""
    content = f"\r\n--{BOUNDARY[:-1]}\r\n--\r\n".encode() * 50 + LINE
    file = post(http, form(PURPOSE, ("file", 'filename="x"', content))).json()
    assert http.get(f"/v1/files/{file['id']}/content").content == content


def test_part_headers_of_ruby(http: httpx.Client) -> None:
    """Ruby sends an empty Content-Type and a Content-Length with each part."""
    body = form(FILE, PURPOSE).replace(
        b'filename="a.jsonl"\r\n',
        f'filename="a.jsonl"\r\nContent-Type: \r\nContent-Length: {len(LINE)}\r\n'.encode(),
    )
    assert post(http, body).status_code == 200


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "Grüße 🙂.jsonl", "a;b=c.jsonl", "CON", "x" * 255, "%0d%0aX: 1"]
)
def test_filename(http: httpx.Client, name: str) -> None:
    """A file's name is data: it comes back as it is, and leads nowhere."""
    file = post(http, form(PURPOSE, ("file", f'filename="{name}"', LINE))).raise_for_status().json()
    assert file["filename"] == name
    response = http.get(f"/v1/files/{file['id']}/content")
    assert response.content == LINE
    assert response.headers["content-type"] == "application/octet-stream"
    assert response.headers["content-disposition"].startswith("attachment; filename")
    assert "x" not in response.headers


@pytest.mark.parametrize(
    ("parts", "param", "code"),
    [
        ((), "file", "missing_required_parameter"),
        ((PURPOSE,), "file", "missing_required_parameter"),
        ((FILE,), "purpose", "missing_required_parameter"),
        ((FILE, ("purpose", "", b"fun")), "purpose", "invalid_value"),
        ((FILE, ("purpose", "", b"fine-tune-results")), "purpose", "invalid_value"),
        ((FILE, ("purpose", "", b"\xff")), "purpose", None),
        ((FILE, PURPOSE, PURPOSE), "purpose", None),
        ((FILE, FILE, PURPOSE), "file", None),
        ((FILE, PURPOSE, ("colour", "", b"red")), "colour", "unknown_parameter"),
        ((PURPOSE, ("file", "", LINE)), "file", "invalid_type"),
        ((PURPOSE, ("file", 'filename="a\tb"', LINE)), "file", None),
        ((PURPOSE, ("file", 'filename="a"', b"")), "file", "empty_file"),
        ((PURPOSE, ("file", 'filename="a"', b"\xff\n")), "file", "invalid_file_encoding"),
        ((FILE, ("purpose", "", b"x" * 70_000)), "purpose", None),
        (
            (FILE, PURPOSE, ("expires_after[seconds]", "", b"3600")),
            "expires_after.anchor",
            "missing_required_parameter",
        ),
        (
            (FILE, PURPOSE, ("expires_after[anchor]", "", b"created_at")),
            "expires_after.seconds",
            "missing_required_parameter",
        ),
        (
            (
                FILE,
                PURPOSE,
                ("expires_after[anchor]", "", b"created_at"),
                ("expires_after[seconds]", "", b"5"),
            ),
            "expires_after.seconds",
            "integer_below_min_value",
        ),
        (
            (
                FILE,
                PURPOSE,
                ("expires_after[anchor]", "", b"now"),
                ("expires_after[seconds]", "", b"3600"),
            ),
            "expires_after.anchor",
            "invalid_value",
        ),
    ],
)
def test_bad_form(
    http: httpx.Client, server: Server, parts: tuple, param: str, code: str | None
) -> None:
    """A form with something wrong in it is refused by its field, and leaves no bytes behind."""
    response = post(http, form(*parts))
    error = response.json()["error"]
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)
    assert server.incoming == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nonsense", form(FILE, PURPOSE)[:-6], form(FILE, PURPOSE)[:60],
        form(FILE, PURPOSE).replace(b"form-data", b"attachment"),
        form(FILE, PURPOSE).replace(b"\r\n", b"\n"),
        form(*[FILE] * 9), form(("x" * 5000, "", b"")),
        form(FILE, PURPOSE).replace(b"a.jsonl", b"\xff.jsonl"),
    ],
)  # fmt: skip
def test_broken_form(http: httpx.Client, server: Server, body: bytes) -> None:
    """What is no whole multipart form is refused, and leaves no bytes behind."""
    response = post(http, body)
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    assert server.incoming == []


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "multipart/form-data",
        "multipart/form-data; boundary=ü",
        "text/plain",
        "",
    ],
)
def test_not_a_form(http: httpx.Client, content_type: str) -> None:
    """An upload that does not call itself a multipart form, or has no boundary, is refused."""
    response = post(http, form(FILE, PURPOSE), **{"content-type": content_type.encode()})
    assert response.status_code == 400
    assert response.json()["error"]["type"] == "invalid_request_error"


def test_announced_too_large(server: Server) -> None:
    """A body that announces more than a file may have is refused before it is sent."""
    with socket.create_connection(address(server)) as connection:
        connection.sendall(upload_head(server, "Content-Length: 600000000"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_client_that_hangs_up(server: Server) -> None:
    """An upload whose client goes away leaves no bytes behind."""
    begun = form(PURPOSE, FILE)[:-30]
    with socket.create_connection(address(server)) as connection:
        connection.sendall(upload_head(server, "Content-Length: 1000000") + begun)
        eventually(lambda: server.incoming)
    eventually(lambda: not server.incoming)


def test_memory_stays_flat(server: Server) -> None:
    """200 MB pass through a process that grows by less than 64 MB: it holds no file."""
    megabyte = LINE * (2**20 // len(LINE))
    head, tail = form(PURPOSE, ("file", 'filename="big"', b"|")).split(b"|")
    before = resident_bytes()
    peak = before
    host, port = address(server)
    connection = http.client.HTTPConnection(host, port)
    connection.putrequest("POST", "/v1/files")
    connection.putheader("Authorization", f"Bearer {server.key}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + 200 * len(megabyte) + len(tail)))
    connection.endheaders()
    connection.send(head)
    for _ in range(200):
        connection.send(megabyte)
        peak = max(peak, resident_bytes())
    connection.send(tail)
    file = json.load(connection.getresponse())
    connection.close()
    assert file["bytes"] == 200 * len(megabyte)
    assert peak - before < 64 * 2**20


@pytest.mark.anyio
async def test_more_than_allowed(short_tmp_path: Path) -> None:
    """A file that turns out larger than allowed is refused where it crosses the limit."""
    blobs = Blobs(short_tmp_path)
    blobs.prepare()
    sent = form(PURPOSE, ("file", 'filename="a"', b"x" * 100_000))
    async with blobs.incoming() as incoming:
        with pytest.raises(PayloadTooLarge) as raised:
            await receive_upload(request(sent), incoming, max_bytes=99_999)
    assert raised.value.param == "file"


@pytest.mark.anyio
async def test_hang_up_is_told_apart(short_tmp_path: Path) -> None:
    """A body that ends before its end is the client's doing, whatever the form looked like."""
    blobs = Blobs(short_tmp_path)
    blobs.prepare()
    async with blobs.incoming() as incoming:
        with pytest.raises(ClientGone):
            await receive_upload(request(form(FILE, PURPOSE)[:-4], ends=False), incoming)


@pytest.mark.anyio
async def test_form(short_tmp_path: Path) -> None:
    """The form's fields come back checked, the file's bytes are in the blob."""
    blobs = Blobs(short_tmp_path)
    blobs.prepare()
    async with blobs.incoming() as incoming:
        found = await receive_upload(request(form(FILE, PURPOSE)), incoming)
        blob = await incoming.finish()
    assert found == UploadForm(filename="a.jsonl", purpose="fine-tune")
    assert blob.bytes == len(LINE)


def request(body: bytes, *, ends: bool = True) -> Request:
    """A request that brings `body` in pieces and then ends, or hangs up."""
    pieces = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    last = {"type": "http.request", "body": b"", "more_body": False}
    messages.append(last if ends else {"type": "http.disconnect"})

    async def receive() -> dict:
        return messages.pop(0)

    content_type = f"multipart/form-data; boundary={BOUNDARY}".encode()
    scope = {"type": "http", "state": {}, "headers": [(b"content-type", content_type)]}
    return Request(scope, receive)


def address(server: Server) -> tuple[str, int]:
    parts = urlsplit(server.url)
    return parts.hostname, parts.port


def upload_head(server: Server, length: str) -> bytes:
    return (
        f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n{length}\r\n\r\n"
    ).encode()


def resident_bytes() -> int:
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * resource.getpagesize()
