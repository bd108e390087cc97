"""Files by clicking: who may send one, what is shown of it, and when it may go."""

import json
import re
from collections.abc import Iterator

import httpx
import pytest

from tests.api_server import Server

EXAMPLE = {
    "messages": [
        {"role": "user", "content": "Is <b>this</b> shown?"},
        {"role": "assistant", "content": "As it is.", "weight": 1},
    ]
}
LINES = (json.dumps(EXAMPLE) + "\n") * 12


def token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', page.text)
    assert found is not None
    return found[1]


@pytest.fixture
def csrf(reader: httpx.Client) -> str:
    return token(reader.get("/ui/files"))


def form(content: bytes, *, csrf: str | None, name: str = "train.jsonl") -> list[tuple]:
    """A multipart form in the order in which the page has its fields."""
    fields = [] if csrf is None else [("csrf_token", (None, csrf))]
    return [*fields, ("purpose", (None, "fine-tune")), ("file", (name, content))]


def upload(reader: httpx.Client, csrf: str, content: str = LINES, name: str = "train.jsonl") -> str:
    answer = reader.post("/ui/files", files=form(content.encode(), csrf=csrf, name=name))
    assert answer.status_code == 303, answer.text
    return answer.headers["location"].rpartition("/")[2]


def test_a_file_is_uploaded_by_a_plain_form(reader: httpx.Client, csrf):
    """Without scripts, a form with a file leads to the file's page, which shows its conversations as text."""
    file_id = upload(reader, csrf)
    page = reader.get(f"/ui/files/{file_id}").text
    assert "train.jsonl" in page
    assert "Is &lt;b&gt;this&lt;/b&gt; shown?" in page
    assert "assistant · learned" in page
    assert file_id in reader.get("/ui/files").text


def test_half_a_character_is_shown_as_none(reader: httpx.Client, csrf):
    """JSON may hold a surrogate by itself, which no page can: its place is marked."""
    line = '{"messages": [{"role": "us\\ud800er", "content": "cut \\ud83d"}]}\n'
    page = reader.get(f"/ui/files/{upload(reader, csrf, line)}").text
    assert "us\ufffder" in page
    assert "cut \ufffd" in page


def test_a_script_uploads_with_the_token_in_a_header(reader: httpx.Client, csrf):
    """A script that sends the token as a header, and no field of it, learns what the file became."""
    headers = {"x-csrf-token": csrf, "accept": "application/json"}
    sent = form(LINES.encode(), csrf=None)
    answer = reader.post("/ui/files", files=sent, headers=headers)
    assert answer.status_code == 201
    assert answer.json()["bytes"] == len(LINES)


def test_the_api_sees_what_was_uploaded(server: Server, reader: httpx.Client, csrf):
    """What a page takes is the API's file, byte for byte."""
    file_id = upload(reader, csrf)
    bearer = {"authorization": f"Bearer {server.key}"}
    content = httpx.get(f"{server.url}/v1/files/{file_id}/content", headers=bearer)
    assert content.text == LINES
    saved = reader.get(f"/ui/files/{file_id}/content")
    assert saved.text == LINES
    assert saved.headers["content-disposition"].startswith("attachment")


@pytest.mark.parametrize(
    "fields",
    [
        form(b"x", csrf=None),
        form(b"x", csrf=""),
        form(b"x", csrf="0" * 64),
    ],
    ids=["none", "empty", "wrong"],
)
def test_a_file_without_the_token_is_refused(reader: httpx.Client, fields):
    """A form with a file that does not begin with the session's token changes nothing."""
    assert reader.post("/ui/files", files=fields).status_code == 403


def test_a_token_behind_the_file_is_too_late(server: Server, reader: httpx.Client, csrf):
    """Only the very first field counts as the token: no byte of a file is read before it."""
    late = [*form(LINES.encode(), csrf=None), ("csrf_token", (None, csrf))]
    assert reader.post("/ui/files", files=late).status_code == 403
    assert server.incoming == []


def test_a_token_in_a_file_is_no_token(reader: httpx.Client, csrf):
    """A file called like the token's field, or a token in the address, opens nothing."""
    named = [("csrf_token", ("x", csrf)), *form(b"x", csrf=None)]
    assert reader.post("/ui/files", files=named).status_code == 403
    address = f"/ui/files?csrf_token={csrf}"
    assert reader.post(address, files=form(b"x", csrf=None)).status_code == 403


def test_a_form_may_come_in_pieces(reader: httpx.Client, csrf):
    """The token is found however the network cuts the form."""
    request = reader.build_request("POST", "/ui/files", files=form(LINES.encode(), csrf=csrf))
    body = request.read()

    def pieces() -> Iterator[bytes]:
        for start in range(0, 300, 7):
            yield body[start : start + 7]
        yield body[301:]

    headers = {"content-type": request.headers["content-type"]}
    assert reader.post("/ui/files", content=pieces(), headers=headers).status_code == 303


@pytest.mark.parametrize("content", [b"", b"\xff\xfe"], ids=["empty", "no UTF-8"])
def test_what_is_refused_is_said_beside_the_form(reader: httpx.Client, csrf, content):
    """A file that the API would refuse leads back to the list, which says why at the field."""
    answer = reader.post("/ui/files", files=form(content, csrf=csrf))
    assert answer.status_code == 400
    assert 'aria-describedby="file-error"' in answer.text
    assert "The file is" in answer.text


def test_a_file_that_a_job_needs_stays(server: Server, reader: httpx.Client, csrf):
    """A file names the jobs that use it, and cannot be deleted from its page before they are over."""
    file_id = upload(reader, csrf)
    job_id = server.add_job(status="queued", training_file=file_id, user_provided_suffix="bank")
    assert "bank" in reader.get("/ui/files").text
    assert job_id in reader.get(f"/ui/files/{file_id}").text
    answer = reader.post(f"/ui/files/{file_id}/delete", data={"csrf_token": csrf})
    assert answer.status_code == 409
    assert "The file is still needed" in answer.text
    assert reader.get(f"/ui/files/{file_id}").status_code == 200


def test_a_file_that_no_job_needs_goes(server: Server, reader: httpx.Client, csrf):
    """A file whose jobs are over is deleted for good."""
    file_id = upload(reader, csrf)
    server.add_job(status="succeeded", validation_file=file_id)
    server.add_job(status="failed", result_files=[file_id])
    assert reader.get(f"/ui/files/{file_id}").text.count("/ui/jobs/ftjob-") == 2
    answer = reader.post(f"/ui/files/{file_id}/delete", data={"csrf_token": csrf})
    assert answer.headers["location"] == "/ui/files"
    assert reader.get(f"/ui/files/{file_id}").status_code == 404


def test_a_file_is_shown_whatever_is_in_it(reader: httpx.Client, csrf):
    """Lines that are no conversation are shown as they are, and long ones are cut."""
    long = {"messages": [{"role": "user", "content": [{"type": "text", "text": "é" * 5000}]}]}
    content = f"<script>1</script>\n\n{json.dumps(long)}\n" + '{"messages": 3}\n[[\n'
    page = reader.get(f"/ui/files/{upload(reader, csrf, content)}").text
    assert "&lt;script&gt;1&lt;/script&gt;" in page
    assert page.count("cut here") == 1
    assert "Line 3" in page
    assert "Line 2" not in page


def test_the_list_is_narrowed_by_purpose(reader: httpx.Client, csrf):
    """Each tab shows one purpose; where there is nothing, it says what to do."""
    file_id = upload(reader, csrf)
    assert file_id in reader.get("/ui/files?purpose=fine-tune").text
    empty = reader.get("/ui/files?purpose=batch_output").text
    assert file_id not in empty
    assert "Show all files" in empty
