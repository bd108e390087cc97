"""Files that arrive in parts, by OpenAI's own SDK and as nobody should send them."""

import hashlib
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from openai import BadRequestError, OpenAI
from openai.types import Upload

from tests.api_server import Server
from tests.polling import eventually

CONTENT = b"".join(b'{"n": %d}\n' % n for n in range(200_000))
PART = 400_000


@pytest.fixture
def strict(server: Server):
    """The SDK, refusing any answer that does not fit its types."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def create(client: OpenAI, size: int = len(CONTENT), **more) -> Upload:
    asked = {"filename": "a.jsonl", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    return client.uploads.create(bytes=size, **asked | more)


def pieces(content: bytes = CONTENT) -> list[bytes]:
    return [content[at : at + PART] for at in range(0, len(content), PART)]


def parts_on_disk(server: Server, upload_id: str) -> list[Path]:
    return list((server.settings.data_dir / "blobs" / "parts").glob(f"{upload_id}/*"))


def backdate(server: Server, table: str, id: str, **columns: int) -> None:
    """Move a record's times, as waiting would."""
    with closing(sqlite3.connect(server.settings.data_dir / "retune.db", timeout=10)) as database:
        for name, value in columns.items():
            database.execute(f"UPDATE {table} SET {name} = ? WHERE id = ?", (value, id))  # noqa: S608
        database.commit()


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_the_sdks_helper(strict: OpenAI, tmp_path: Path, kind: str) -> None:
    """`upload_file_chunked` sends a path or bytes in parts and gets a file with these bytes."""
    path = tmp_path / "train.jsonl"
    path.write_bytes(CONTENT)
    source = (
        {"file": path}
        if kind == "path"
        else {"file": CONTENT, "filename": "train.jsonl", "bytes": len(CONTENT)}
    )
    upload = strict.uploads.upload_file_chunked(
        **source,
        mime_type="text/jsonl",
        purpose="fine-tune",
        part_size=PART,
        md5=hashlib.md5(CONTENT, usedforsecurity=False).hexdigest(),
    )
    assert (upload.status, upload.expires_at - upload.created_at) == ("completed", 3600)
    file = upload.file
    assert (file.filename, file.bytes, file.purpose) == ("train.jsonl", len(CONTENT), "fine-tune")
    assert (file.status, file.expires_at) == ("processed", None)
    assert strict.files.content(file.id).content == CONTENT
    assert strict.files.retrieve(file.id) == file


def test_parts_at_once_in_any_order(strict: OpenAI, server: Server) -> None:
    """Parts may arrive in parallel and shuffled: the order given at the end is the file's, and the rest is dropped."""
    upload = create(strict, mime_type="application/octet-stream")
    shuffled = list(enumerate(pieces()))
    random.Random(1).shuffle(shuffled)
    shuffled.append((99, b"dropped"))
    with ThreadPoolExecutor(8) as threads:
        sent = threads.map(
            lambda part: strict.uploads.parts.create(upload.id, data=part[1]), shuffled
        )
        ids = {number: part.id for (number, _), part in zip(shuffled, sent, strict=True)}
    assert len(parts_on_disk(server, upload.id)) == len(shuffled)
    order = [ids[number] for number in sorted(ids) if number != 99]
    file = strict.uploads.complete(upload.id, part_ids=order).file
    assert strict.files.content(file.id).content == CONTENT
    assert parts_on_disk(server, upload.id) == []
    assert server.incoming == []


def test_a_file_that_ends(strict: OpenAI) -> None:
    """`expires_after` counts from the file's creation; files for batches end after 30 days by themselves."""
    for purpose, expiry, lifetime in (
        ("user_data", {"expires_after": {"anchor": "created_at", "seconds": 7200}}, 7200),
        ("batch", {}, 30 * 24 * 3600),
        ("assistants", {}, None),
    ):
        upload = create(strict, 3, purpose=purpose, **expiry)
        part = strict.uploads.parts.create(upload.id, data=b"abc")
        file = strict.uploads.complete(upload.id, part_ids=[part.id]).file
        assert (file.expires_at and file.expires_at - file.created_at) == lifetime


def test_wrong_sum(client: OpenAI, server: Server) -> None:
    """Other bytes than announced, by MD5 or number, make no file; the parts stay, to be named rightly."""
    upload = create(client)
    ids = [client.uploads.parts.create(upload.id, data=piece).id for piece in pieces()]
    md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
    refusals = [
        (ids[::-1], md5, "md5", "invalid_checksum"),
        (ids, "md5", "md5", "invalid_checksum"),
        (ids, "é", "md5", "invalid_checksum"),
        (ids[:-1], md5, "part_ids", "invalid_upload_size"),
        ([*ids, ids[0]], md5, f"part_ids[{len(ids)}]", "invalid_value"),
        (["part_x", *ids], md5, "part_ids[0]", "invalid_value"),
        ([], md5, "part_ids", "empty_array"),
    ]
    for part_ids, expected, param, code in refusals:
        with pytest.raises(BadRequestError) as refused:
            client.uploads.complete(upload.id, part_ids=part_ids, md5=expected)
        assert (refused.value.param, refused.value.code) == (param, code)
    assert server.incoming == []
    done = client.uploads.complete(upload.id, part_ids=ids, md5=md5.upper())
    assert done.file.bytes == len(CONTENT)


def test_parts_of_another_upload(client: OpenAI) -> None:
    """A part belongs to one upload."""
    first, second = create(client, 3), create(client, 3)
    part = client.uploads.parts.create(first.id, data=b"abc")
    with pytest.raises(BadRequestError, match="is no part of this upload"):
        client.uploads.complete(second.id, part_ids=[part.id])


def test_what_no_training_can_use(client: OpenAI) -> None:
    """Bytes for training that are not UTF-8 are refused where they are whole, as in a plain upload."""
    upload = create(client, 2)
    part = client.uploads.parts.create(upload.id, data=b"\xff\n")
    with pytest.raises(BadRequestError) as refused:
        client.uploads.complete(upload.id, part_ids=[part.id])
    assert refused.value.code == "invalid_file_encoding"


def test_what_is_over_stays_over(client: OpenAI, server: Server) -> None:
    """After completion, cancellation or an hour nothing more can be done with an upload; the words say why."""
    completed, cancelled, expired = (create(client, 3) for _ in range(3))
    ids = {
        upload.id: client.uploads.parts.create(upload.id, data=b"abc").id
        for upload in (completed, cancelled, expired)
    }
    client.uploads.complete(completed.id, part_ids=[ids[completed.id]])
    answer = client.uploads.cancel(cancelled.id)
    assert (answer.status, answer.file) == ("cancelled", None)
    backdate(server, "uploads", expired.id, expires_at=1)
    for upload, status in (
        (completed, "completed"),
        (cancelled, "cancelled"),
        (expired, "expired"),
    ):
        for deed, ask in (
            ("add parts to", lambda name: client.uploads.parts.create(name, data=b"d")),
            ("complete", lambda name: client.uploads.complete(name, part_ids=[ids[name]])),
            ("cancel", client.uploads.cancel),
        ):
            with pytest.raises(BadRequestError) as refused:
                ask(upload.id)
            words = f"Cannot {deed} an upload with status '{status}'."
            assert refused.value.body["message"] == words
    assert parts_on_disk(server, cancelled.id) == []


def test_what_is_not_there(http: httpx.Client) -> None:
    """An unknown upload is a 404 in every call."""
    for path, body in (
        ("parts", {"files": {"data": ("a", b"a")}}),
        ("complete", {"json": {"part_ids": ["part_a"]}}),
        ("cancel", {}),
    ):
        answer = http.post(f"/v1/uploads/upload_none/{path}", **body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (404, "id")
        assert error["message"] == "No such Upload object: upload_none"


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"bytes": 8 * 2**30 + 1}, "bytes", "integer_above_max_value"),
        ({"bytes": -1}, "bytes", "integer_below_min_value"),
        ({"bytes": "3"}, "bytes", "invalid_type"),
        ({"purpose": "fun"}, "purpose", "invalid_value"),
        ({"purpose": "fine-tune-results"}, "purpose", "invalid_value"),
        ({"filename": "a\nb"}, "filename", "invalid_value"),
        ({"filename": ""}, "filename", "string_below_min_length"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
        ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds", "integer_below_min_value"),
        ({"expires_after": {"seconds": 3600}}, "expires_after.anchor", "missing_required_parameter"),
    ],
)  # fmt: skip
def test_bad_creation(http: httpx.Client, change: dict, param: str, code: str) -> None:
    """An upload that could never become a file is refused by its field."""
    body = {"bytes": 3, "filename": "a", "purpose": "fine-tune", "mime_type": "x/y"} | change
    answer = http.post("/v1/uploads", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize("name", ["bytes", "filename", "purpose", "mime_type"])
def test_missing_field(http: httpx.Client, name: str) -> None:
    """Each of the four fields is required."""
    body = {"bytes": 3, "filename": "a", "purpose": "fine-tune", "mime_type": "x/y"}
    del body[name]
    error = http.post("/v1/uploads", json=body).json()["error"]
    assert (error["param"], error["code"]) == (name, "missing_required_parameter")


@pytest.mark.parametrize(
    ("form", "refusal"),
    [
        ({"files": {"file": ("a", b"a")}}, (400, "file", "unknown_parameter")),
        ({"files": {"data": ("a", b"")}}, (400, "data", "empty_file")),
        ({"files": {"data": ("a", b"a")}, "data": {"purpose": "x"}}, (400, "purpose", "unknown_parameter")),
        ({"files": [("data", ("a", b"a")), ("data", ("b", b"b"))]}, (400, "data", None)),
        ({"json": {"data": "a"}}, (400, "data", None)),
        ({"files": {"data": ("a", b"x" * (64 * 2**20 + 1))}}, (413, "data", None)),
    ],
    ids=["wrong name", "empty", "more fields", "twice", "not a form", "too large"],
)  # fmt: skip
def test_bad_part(client: OpenAI, http: httpx.Client, server: Server, form, refusal) -> None:
    """A form that is not one part of at most 64 MB is refused, and leaves no bytes behind."""
    upload = create(client)
    answer = http.post(f"/v1/uploads/{upload.id}/parts", **form)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == refusal
    eventually(lambda: not server.incoming)
    assert parts_on_disk(server, upload.id) == []


def test_part_without_a_name(client: OpenAI, http: httpx.Client) -> None:
    """A part may come as a plain field: OpenAI's own example for curl sends it so."""
    upload = create(client, 3)
    body = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\nabc\r\n--b--\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    part = http.post(f"/v1/uploads/{upload.id}/parts", content=body, headers=headers).json()
    assert client.uploads.complete(upload.id, part_ids=[part["id"]]).file.bytes == 3
