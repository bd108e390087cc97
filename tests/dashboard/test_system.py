"""How the server is, as a page and as the API tells it: to whom what."""

import asyncio
import time

import httpx
import pytest

from jobs.store.records import TrainerMemory, WorkerRecord
from jobs.store.store import open_store
from tests.api_server import Server

PATH = "/ui/system"


def told(server: Server, key: str) -> dict:
    bearer = {"authorization": f"Bearer {key}"}
    answer = httpx.get(f"{server.url}/v1/system", headers=bearer, timeout=30)
    assert answer.status_code == 200
    system: dict = answer.json()
    return system


def test_engines_disk_and_versions_are_shown(server: Server, reader: httpx.Client):
    """Whoever may see models sees the engines, the counts of the queue, the disk and the versions."""
    server.fail_engine("lost", "no room")
    server.add_job(status="queued")
    page = reader.get(PATH).text
    for expected in ("meta/Nano-2", "Does not start", "no room", "python"):
        assert expected in page
    system = told(server, server.key)
    assert {each["base"]: each["state"] for each in system["engines"]} == {
        "nano": "ready",
        "meta/Nano-2": "ready",
        "lost": "failed",
        "vectors": "ready",
    }
    assert system["queue"]["jobs"]["queued"] >= 1
    assert system["disk"]["free"] > 0


async def beat(server: Server, worker: WorkerRecord) -> None:
    async with open_store(server.settings.effective_database_url) as store:
        await store.machines.beat(worker)


def test_a_worker_is_shown(server: Server, reader, administrator):
    """A worker that is alive is told with its memory; on which machine it is only an admin key learns."""
    worker = WorkerRecord(
        id="worker-shown",
        host="machine-7",
        pid=4711,
        seen_at=time.time(),
        trainer=TrainerMemory(total_bytes=3 * 10**9, bytes_each=4),
    )
    asyncio.run(beat(server, worker))
    shown, told_to_admin = reader.get(PATH).text, administrator.get(PATH).text
    asyncio.run(beat(server, worker.model_copy(update={"seen_at": 0.0})))
    assert "3 GB" in shown
    assert "machine-7" not in shown
    assert "machine-7" in told_to_admin


def test_a_missing_worker_is_told_with_what_to_do(reader: httpx.Client):
    """Where no worker is alive, the page says so and how one starts."""
    page = reader.get(PATH).text
    assert "No worker is alive" in page
    assert "retune serve --only worker" in page


def test_what_tells_of_machines_is_for_admin_keys(
    server: Server, reader: httpx.Client, administrator: httpx.Client
):
    """Paths and hosts are not for every project: its key sees no check, an admin key each of them."""
    assert told(server, server.key)["checks"] is None
    assert str(server.settings.data_dir) not in reader.get(PATH).text
    checks = {check["name"] for check in told(server, server.admin_key)["checks"]}
    assert {"Python", "torch", "vLLM", "SQLite", "Data directory", "Base models"} <= checks
    assert str(server.settings.data_dir) in administrator.get(PATH).text


@pytest.mark.parametrize("scope", ["api.files.read"])
def test_a_restricted_key_is_told_what_it_lacks(server: Server, visitor: httpx.Client, scope):
    """A key that may not see models sees nothing here, neither as a page nor as JSON."""
    made = httpx.post(
        f"{server.url}/v1/organization/projects/proj_default/api_keys",
        headers={"authorization": f"Bearer {server.admin_key}"},
        json={"name": "narrow", "scopes": [scope]},
    ).json()
    visitor.post("/ui/sign-in", data={"key": made["value"]})
    assert "Your key may not do this" in visitor.get(PATH).text
    bearer = {"authorization": f"Bearer {made['value']}"}
    assert httpx.get(f"{server.url}/v1/system", headers=bearer).status_code == 401
