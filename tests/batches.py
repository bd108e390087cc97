"""Batches that tests run: their files, and what became of them."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs import batches, files
from jobs.batch_run import BatchRunner
from jobs.keys import Caller, key_digest, new_key_record
from jobs.services import Services
from jobs.store.records import ProjectRecord
from schemas.batches import Batch, BatchCreate
from schemas.settings import Settings
from tests.api_server import opener
from tests.fake_engine import FakeEngine

CALLER = Caller(project_id="proj_a", organization_id="local", key_id="key_1")
CHAT = "/v1/chat/completions"


async def record_creator(services: Services) -> None:
    """Record the key of `CALLER`, and its project: batches run only for a key that works."""
    await services.store.projects.ensure(
        ProjectRecord(id=CALLER.project_id, organization_id="local", name="A", created_at=1)
    )
    key = new_key_record(
        "sk-batches", name="batches", organization_id="local", project_id=CALLER.project_id
    ).model_copy(update={"id": CALLER.key_id})
    await services.store.keys.add(key, digest=key_digest("sk-batches"))


def line(custom_id, content="hello", **update) -> dict:
    """A request, as a line of an input file."""
    body = {"model": "nano", "messages": [{"role": "user", "content": content}]}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body} | update


def jsonl(lines: Iterable[dict]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in lines)


async def upload(services: Services, content: bytes) -> str:
    """Keep an input file and return its id."""
    async with services.blobs.incoming() as incoming:
        await incoming.write(content)
        blob = await incoming.finish()
        file = await files.create(services, CALLER, blob, filename="in.jsonl", purpose="batch")
    return file.id


async def create(services: Services, lines: Iterable[dict], **more) -> Batch:
    """Create a batch of these requests."""
    file_id = await upload(services, jsonl(lines))
    request = BatchCreate(input_file_id=file_id, endpoint=CHAT, completion_window="24h", **more)
    return await batches.create(services, CALLER, request)


async def until(
    services: Services, batch_id: str, holds: Callable[[Batch], object], *, seconds: float = 60
) -> Batch:
    """Return the batch once `holds` does."""
    async with asyncio.timeout(seconds):
        while not holds(batch := await batches.get(services, CALLER, batch_id)):
            await asyncio.sleep(0.05)
    return batch


def is_over(batch: Batch) -> bool:
    return batch.status in {"completed", "failed", "expired", "cancelled"}


def results(services: Services, batch: Batch) -> dict[str, dict[str, dict]]:
    """Return the lines of both files by custom_id; fail where one comes twice."""
    found: dict[str, dict[str, dict]] = {}
    seen: set[str] = set()
    for kind in ("output", "error"):
        file_id = getattr(batch, f"{kind}_file_id")
        path = services.blobs.file_path(file_id) if file_id else Path("/dev/null")
        lines = [json.loads(each) for each in path.read_bytes().splitlines()]
        found[kind] = {each["custom_id"]: each for each in lines}
        assert len(found[kind]) == len(lines)
        assert seen.isdisjoint(found[kind])
        seen |= found[kind].keys()
    return found


@contextmanager
def running_batches(settings: Settings, engine: FakeEngine) -> Iterator[None]:
    """Run batches as a worker does, in a thread of its own."""
    loop = asyncio.new_event_loop()

    async def work() -> None:
        async with opener(engine)(settings) as services:
            await BatchRunner(services, owner="worker-tests").run()

    task = loop.create_task(work())
    thread = threading.Thread(target=lambda: loop.run_until_complete(asyncio.wait([task])))
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()
