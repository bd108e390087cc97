"""How much a key may send in a minute, in files and in parts."""

from collections.abc import Iterator

import httpx
import pytest
from openai import OpenAI, RateLimitError

from tests.api_server import Server, running_server

FILE = {"file": ("a.jsonl", b"x" * 10_000), "purpose": "user_data"}


@pytest.fixture
def limited(redis_url: str) -> Iterator[Server]:
    """A server that takes 20,000 bytes a minute from each key."""
    with running_server(redis_url, upload_bytes_per_minute=20_000) as server:
        yield server


@pytest.fixture
def client(limited: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{limited.url}/v1", api_key=limited.key, max_retries=0) as client:
        yield client


def test_files_and_parts_count_together(client: OpenAI) -> None:
    """What a file took is not there for a part; the refusal says how long to wait."""
    client.files.create(**FILE)
    upload = client.uploads.create(
        bytes=9000, filename="b.jsonl", mime_type="text/plain", purpose="user_data"
    )
    client.uploads.parts.create(upload.id, data=b"x" * 9000)
    with pytest.raises(RateLimitError, match="on uploaded bytes per min") as refused:
        client.files.create(**FILE)
    assert refused.value.code == "rate_limit_exceeded"
    assert 0 < float(refused.value.response.headers["retry-after"]) <= 60
    with pytest.raises(RateLimitError):
        client.uploads.parts.create(upload.id, data=b"x" * 9000)
    assert [file.filename for file in client.files.list()] == ["a.jsonl"]


def test_a_body_without_a_length_counts_once_it_is_there(limited: Server, client: OpenAI) -> None:
    """A key that announces nothing can send no more than one that does."""
    whole = httpx.Request(
        "POST", limited.url, files={"file": FILE["file"]}, data={"purpose": "user_data"}
    )

    def send() -> httpx.Response:
        content_type = whole.headers["content-type"]
        return httpx.post(
            f"{limited.url}/v1/files",
            content=iter([whole.read()]),  # chunked
            headers={"authorization": f"Bearer {limited.key}", "content-type": content_type},
        )

    statuses = [send().status_code for _ in range(4)]
    assert statuses == [200, 200, 200, 429]
    assert len(client.files.list().data) == 3
