"""Usage, as an administrator asks for it with OpenAI's SDK."""

import asyncio
import time
from collections.abc import Iterator

import httpx
import pytest
from openai import BadRequestError, OpenAI

from jobs.store.store import open_store
from schemas.ids import new_id
from schemas.usage import Used, UsedBy
from tests.api_server import Server
from tests.polling import eventually

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def admin(server: Server) -> Iterator[OpenAI]:
    """The SDK with an admin key."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        admin_api_key=server.admin_key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def used(admin: OpenAI, began: int, **query) -> list:
    """All results since then, of today's bucket."""
    page = admin.admin.organization.usage.completions(start_time=began, **query)
    return [result for bucket in page.data for result in bucket.results]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_tokens_are_counted(server: Server, admin: OpenAI, stream: bool) -> None:
    """Each answer's tokens are there seconds later, by project, key and model, whether streamed or not."""
    began = int(time.time())
    key = httpx.post(
        f"{server.url}/v1/organization/projects/proj_default/api_keys",
        json={"name": "usage"},
        headers={"authorization": f"Bearer {server.admin_key}"},
    ).json()
    with OpenAI(base_url=f"{server.url}/v1", api_key=key["value"]) as client:
        answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=stream)
        if stream:
            assert list(answer)

    def counted() -> list:
        grouped = ["project_id", "api_key_id", "model"]
        return used(admin, began, group_by=grouped, api_key_ids=[key["id"]])

    eventually(counted)
    [mine] = counted()
    assert (mine.project_id, mine.api_key_id, mine.model) == ("proj_default", key["id"], "nano")
    assert (mine.num_model_requests, mine.input_tokens, mine.output_tokens) == (1, 7, 4)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_tokens_of_texts_are_counted(client: OpenAI, admin: OpenAI, stream: bool) -> None:
    """What `/v1/completions` takes is counted with the chats, all that was made for `best_of` included."""
    began = int(time.time())

    def tokens() -> int:
        found = used(admin, began, group_by=["model"])
        mine = [result for result in found if result.model == "meta/Nano-2"]
        return sum(result.input_tokens + result.output_tokens for result in mine)

    before = tokens()
    best_of = None if stream else 3
    answer = client.completions.create(
        model="meta/Nano-2", prompt="a", best_of=best_of, stream=stream
    )
    if stream:
        assert list(answer)
    eventually(lambda: tokens() == before + (6 if stream else 14))


def test_tokens_of_vectors_are_counted(client: OpenAI, admin: OpenAI) -> None:
    """Embeddings are counted apart."""

    def tokens() -> int:
        page = admin.admin.organization.usage.embeddings(start_time=int(time.time()) - 60)
        return sum(result.input_tokens for bucket in page.data for result in bucket.results)

    before = tokens()
    client.embeddings.create(model="vectors", input=["a", "b"])
    eventually(lambda: tokens() == before + 6)


def test_training_is_told_by_job(server: Server) -> None:
    """As an extension: trained tokens and seconds of a device, of each job where it is asked for."""
    minute = int(time.time()) // 60 * 60
    by = UsedBy(
        minute=minute,
        kind="fine_tuning",
        project_id="proj_default",
        api_key_id="",
        model="nano",
        job_id=new_id("ftjob-"),
    )

    async def record() -> None:
        async with open_store(server.settings.effective_database_url) as store:
            await store.usage.add({by: Used(requests=1, input_tokens=30, device_seconds=1.25)})
            await store.usage.add({by: Used(device_seconds=0.5)})

    asyncio.run(record())
    answer = httpx.get(
        f"{server.url}/v1/organization/usage/fine_tuning",
        params={"start_time": minute, "bucket_width": "1m", "group_by[]": ["job_id", "model"]},
        headers={"authorization": f"Bearer {server.admin_key}"},
    )
    results = answer.json()["data"][0]["results"]
    assert [result for result in results if result["job_id"] == by.job_id] == [
        {
            "object": "organization.usage.fine_tuning.result",
            "input_tokens": 30,
            "num_model_requests": 1,
            "device_seconds": 1.75,
            "model": "nano",
            "job_id": by.job_id,
            "project_id": None,
            "user_id": None,
            "api_key_id": None,
            "batch": None,
            "service_tier": None,
        }
    ]


def test_buckets_and_pages(admin: OpenAI) -> None:
    """Minutes without usage are there too, and the next page goes on where this one ended."""
    now = int(time.time())
    usage = admin.admin.organization.usage
    first = usage.completions(start_time=now - 600, end_time=now, bucket_width="1m", limit=4)
    assert [bucket.end_time - bucket.start_time for bucket in first.data] == [60] * 4
    assert first.has_more
    second = usage.completions(
        start_time=now - 600, end_time=now, bucket_width="1m", limit=4, page=first.next_page
    )
    assert second.data[0].start_time == first.data[-1].end_time


def test_embeddings_and_unknown_projects(admin: OpenAI) -> None:
    """Another kind is counted apart, and a filter that nothing fits finds nothing."""
    page = admin.admin.organization.usage.embeddings(start_time=0, limit=1)
    assert page.object == "page"
    assert used(admin, int(time.time()) - 60, project_ids=["proj_none"]) == []


def test_bad_queries(admin: OpenAI) -> None:
    """Too many buckets and a range that ends before it begins are refused by name."""
    usage = admin.admin.organization.usage
    with pytest.raises(BadRequestError) as refused:
        usage.completions(start_time=1, bucket_width="1d", limit=32)
    assert refused.value.param == "limit"
    with pytest.raises(BadRequestError) as refused:
        usage.completions(start_time=100, end_time=100)
    assert refused.value.param == "end_time"
