"""Kept answers in the store, on SQLite and on Postgres."""

import asyncio

import pytest

from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import CompletionNotFound, InvalidRequest
from schemas.stored_completions import StoredMessage
from tests import samples


@pytest.fixture
async def kept(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened.chat_completions


async def test_filters_and_pages(kept):
    """Answers are found by model, by all of some pairs, and by having none; `after` goes on within a filter."""
    odd = {'a"b': "1", "c.d": "ü"}
    made = [samples.completion(model=f"m{n % 2}", metadata=odd if n % 2 else {}) for n in range(6)]
    for completion in made:
        await kept.add(completion, [], project_id="p")

    async def found(**query) -> list[str]:
        asked = {"model": None, "metadata": None, "limit": 10, "after": None, "order": "asc"}
        page = await kept.page(project_id="p", **asked | query)
        return [completion.id for completion in page.data]

    ids = [completion.id for completion in made]
    assert await found() == ids
    assert await found(model="m1", after=ids[1]) == ids[3::2]
    assert await found(metadata={'a"b': "1", "c.d": "ü"}) == ids[1::2]
    assert await found(metadata={'a"b': "2"}) == []
    assert await found(metadata={}, order="desc", limit=2) == [ids[4], ids[2]]
    with pytest.raises(InvalidRequest):
        await found(after="chatcmpl-none")


async def test_projects_are_strangers(kept):
    """Another project's answer is found, listed, changed and deleted by nobody else."""
    completion = samples.completion()
    message = StoredMessage(id=f"{completion.id}-0", role="user", content="hello")
    await kept.add(completion, [message], project_id="p")
    for attempt in (
        kept.get(completion.id, project_id="q"),
        kept.messages(completion.id, project_id="q"),
        kept.set_metadata(completion.id, {}, project_id="q"),
        kept.delete(completion.id, project_id="q"),
    ):
        with pytest.raises(CompletionNotFound):
            await attempt
    assert await kept.messages(completion.id, project_id="p") == [message]


async def test_other_metadata(kept):
    """What is changed is what is found by."""
    completion = samples.completion(metadata={"a": "b"})
    await kept.add(completion, [], project_id="p")
    await kept.set_metadata(completion.id, {"c": "d"}, project_id="p")
    assert (await kept.get(completion.id, project_id="p")).metadata == {"c": "d"}
    query = {"model": None, "limit": 1, "after": None, "order": "asc"}
    page = await kept.page(project_id="p", metadata={"c": "d"}, **query)
    assert (page.first_id, page.has_more) == (completion.id, False)
