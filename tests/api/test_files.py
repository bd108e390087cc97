"""`/v1/files` as the strict SDK sees it: purposes, ends, pages, contents."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import get_args

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from schemas.files import UploadPurpose
from tests.api_server import Server

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
MONTH = 30 * 24 * 3600


@pytest.fixture(scope="module")
def strict(server: Server) -> Iterator[OpenAI]:
    """The SDK, refusing any answer that does not fit its types."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def end(server: Server, file_id: str) -> None:
    """Let a file's time be over, as waiting would; nothing sweeps it here."""
    with closing(sqlite3.connect(server.settings.data_dir / "retune.db", timeout=10)) as database:
        database.execute("UPDATE files SET expires_at = 1 WHERE id = ?", [file_id])
        database.commit()


@pytest.mark.parametrize("purpose", [one for one in get_args(UploadPurpose) if one != "evals"])
def test_purposes(strict: OpenAI, purpose: str) -> None:
    """Every purpose is taken and shown; only files for batches end by themselves, after 30 days."""
    file = strict.files.create(file=("a.jsonl", LINE), purpose=purpose)
    assert (file.object, file.purpose, file.status) == ("file", purpose, "processed")
    assert (file.filename, file.bytes, file.status_details) == ("a.jsonl", len(LINE), None)
    assert file.expires_at == (file.created_at + MONTH if purpose == "batch" else None)
    assert strict.files.retrieve(file.id) == file
    assert strict.files.wait_for_processing(file.id) == file
    assert [one.id for one in strict.files.list(purpose=purpose, limit=1).data] == [file.id]


@pytest.mark.parametrize("seconds", [3600, MONTH])
def test_ends(strict: OpenAI, seconds: int) -> None:
    """`expires_after` counts from the creation, from an hour to 30 days, whatever the purpose."""
    for purpose in ("batch", "user_data"):
        file = strict.files.create(
            file=LINE, purpose=purpose, expires_after={"anchor": "created_at", "seconds": seconds}
        )
        assert file.expires_at == file.created_at + seconds


@pytest.mark.parametrize("seconds", [3599, MONTH + 1])
def test_ends_too_soon_or_late(strict: OpenAI, seconds: int) -> None:
    """Neither sooner nor later."""
    with pytest.raises(BadRequestError) as refused:
        strict.files.create(
            file=LINE, purpose="batch", expires_after={"anchor": "created_at", "seconds": seconds}
        )
    assert refused.value.param == "expires_after.seconds"


def test_pages(strict: OpenAI) -> None:
    """Pages have no gaps and no repeats, newest or oldest first, and name their ends."""
    made = [strict.files.create(file=LINE, purpose="vision").id for _ in range(5)]
    page = strict.files.list(purpose="vision", limit=2)
    assert (page.data[0].id, page.data[1].id) == (made[4], made[3])
    assert (page.first_id, page.last_id, page.has_more) == (made[4], made[3], True)
    assert [file.id for file in page][:5] == made[::-1]
    last = strict.files.list(purpose="vision", order="asc", after=made[2])
    assert [file.id for file in last.data] == made[3:]
    assert not last.has_more
    with pytest.raises(BadRequestError) as refused:
        strict.files.list(after="file-none")
    assert refused.value.param == "after"


def test_purposes_of_results_can_be_listed(http: httpx.Client) -> None:
    """Files that only the server makes are found by their purpose; an empty list has no ends."""
    for purpose in ("fine-tune-results", "batch_output", "assistants_output"):
        page = http.get("/v1/files", params={"purpose": purpose}).json()
        assert page["object"] == "list"
        if not page["data"]:
            assert (page["first_id"], page["last_id"], page["has_more"]) == (None, None, False)


def test_past_its_date_is_gone_at_once(strict: OpenAI, server: Server) -> None:
    """A file whose time is over is not there, though nobody has swept it: not read, listed, trained on or deleted."""
    file = strict.files.create(file=LINE * 12, purpose="fine-tune")
    end(server, file.id)
    for ask in (strict.files.retrieve, strict.files.content, strict.files.delete):
        with pytest.raises(NotFoundError) as missing:
            ask(file.id)
        assert missing.value.body["message"] == f"No such File object: {file.id}"
        assert missing.value.param == "id"
    assert file.id not in [one.id for one in strict.files.list(purpose="fine-tune")]
    with pytest.raises(BadRequestError, match=f"invalid training_file: {file.id}"):
        strict.fine_tuning.jobs.create(model="nano", training_file=file.id)


def test_a_deleted_file_leaves_no_bytes(strict: OpenAI, server: Server) -> None:
    """Record and bytes go together; a second deletion finds nothing."""
    file = strict.files.create(file=LINE, purpose="user_data")
    path = server.settings.data_dir / "blobs" / "files" / file.id
    assert path.exists()
    gone = strict.files.delete(file.id)
    assert (gone.id, gone.object, gone.deleted) == (file.id, "file", True)
    assert not path.exists()
    with pytest.raises(NotFoundError):
        strict.files.delete(file.id)
