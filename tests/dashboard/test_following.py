"""Models and System follow by themselves: what tells them so, and what it costs the server."""

import asyncio
import re
import time

import httpx
import pytest

from jobs.changes import Glance
from jobs.store.records import WorkerRecord
from jobs.store.store import open_store
from tests.api_server import Server
from tests.polling import eventually


def events_of(page: httpx.Response) -> str:
    found = re.search(r'id="live" data-live="([^"]+)"', page.text)
    assert found is not None
    return found[1].replace("&amp;", "&")


def token_of(reader: httpx.Client, path: str) -> str:
    return events_of(reader.get(path)).rpartition("since=")[2]


def beat(server: Server, *, seen_at: float) -> None:
    worker = WorkerRecord(id="worker-followed", host="h", pid=1, seen_at=seen_at, trainer=None)

    async def beaten() -> None:
        async with open_store(server.settings.effective_database_url) as store:
            await store.machines.beat(worker)

    asyncio.run(beaten())


def test_models_are_told_of_a_new_one(server: Server, reader: httpx.Client):
    """The stream of the page of models tells one that was published since."""
    with reader.stream("GET", events_of(reader.get("/ui/models"))) as answer:
        told = (line for line in answer.iter_lines() if line.startswith("event"))
        assert next(told) == "event: beat"
        server.add_tuned_model(suffix="new")
        assert next(told) == "event: changed"


def test_the_system_follows_workers_not_their_beats(server: Server, reader: httpx.Client):
    """A worker that comes or goes is a change; when it was last alive is none."""
    now = time.time()
    without = token_of(reader, "/ui/system")
    beat(server, seen_at=now)
    eventually(lambda: token_of(reader, "/ui/system") != without)
    alive = token_of(reader, "/ui/system")
    beat(server, seen_at=0)
    eventually(lambda: token_of(reader, "/ui/system") == without)
    beat(server, seen_at=now + 1)
    eventually(lambda: token_of(reader, "/ui/system") == alive)
    beat(server, seen_at=0)


@pytest.mark.parametrize(
    ("of", "scope"), [("models", "api.fine_tuning.read"), ("system", "api.files.read")]
)
def test_a_stream_wants_its_page_s_scope(server: Server, visitor: httpx.Client, of, scope):
    """Who may not see a page is told nothing of it."""
    made = httpx.post(
        f"{server.url}/v1/organization/projects/proj_default/api_keys",
        headers={"authorization": f"Bearer {server.admin_key}"},
        json={"name": "narrow", "scopes": [scope]},
    ).json()
    visitor.post("/ui/sign-in", data={"key": made["value"]})
    assert visitor.get(f"/ui/events/{of}").status_code == 401


def test_an_administrator_follows_the_system(administrator: httpx.Client):
    """An admin key has no project and no scope of one, and follows all the same."""
    with administrator.stream("GET", events_of(administrator.get("/ui/system"))) as answer:
        told = (line for line in answer.iter_lines() if line.startswith("event"))
        assert next(told) == "event: beat"


async def test_a_hundred_pages_look_once():
    """However many ask at the same time, one looks; a moment later the next one does."""
    now, looks = 0.0, 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return looks

    glance = Glance(look, every=3, clock=lambda: now)
    assert set(await asyncio.gather(*(glance() for _ in range(100)))) == {1}
    now = 3.0
    assert await glance() == 2


async def test_what_fails_is_looked_at_again():
    """A look that fails is its asker's to hear of, and is not kept."""
    answers = iter([OSError("gone"), "there"])

    async def look() -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    glance = Glance(look, every=3)
    with pytest.raises(OSError, match="gone"):
        await glance()
    assert await glance() == "there"
