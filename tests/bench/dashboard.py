"""What the dashboard's heaviest pages cost: `python -m tests.bench.dashboard`.

The list of 1,000 jobs, its searches, and the curves of a job of 20,000 steps; over HTTP, on SQLite. Where there
is a Chromium: how soon it paints the list, and how long it takes to draw those curves anew.
"""

import asyncio
import importlib.util
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.main import use_fixed_sqlite

if __name__ == "__main__":
    use_fixed_sqlite()  # before anything loads another

import httpx

from jobs.store.store import open_store
from tests.api_server import PROJECT, Server, running_server
from tests.many_jobs import add_jobs
from tests.servers import running_redis

JOBS, STEPS, LONG = 1000, 60, 20_000
RUNS = 9


async def fill(url: str, *, jobs: int, steps: int, long: int) -> str:
    """Return the id of the long job, which is the newest."""
    async with open_store(url) as store:
        await add_jobs(store, count=jobs - 1, steps=steps, project_id=PROJECT)
        (long_job,) = await add_jobs(
            store, count=1, steps=long, project_id=PROJECT, statuses=["running"]
        )
    return long_job


@contextmanager
def signed_in(server: Server) -> Iterator[httpx.Client]:
    headers = {"sec-fetch-site": "same-origin"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        client.post("/ui/sign-in", data={"key": server.key})
        yield client


def seconds(client: httpx.Client, path: str, runs: int) -> list[float]:
    """Return how long a page took, each time, until its last byte was there."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        answer = client.get(path)
        taken.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return taken


def main() -> None:
    with running_redis() as redis_url, running_server(redis_url) as server:
        url = server.settings.effective_database_url
        long_job = asyncio.run(fill(url, jobs=JOBS, steps=STEPS, long=LONG))
        with signed_in(server) as client:
            for path in (
                "/ui/jobs",
                "/ui/jobs?tab=succeeded",
                "/ui/jobs?search=many-99",
                f"/ui/jobs/{long_job}",
                f"/ui/jobs/{long_job}/metrics",
            ):
                first, *rest = seconds(client, path, RUNS)
                middle = statistics.median(rest)
                shown = path.replace(long_job, "LONG")
                print(f"{shown:28} first {1000 * first:5.0f} ms, then {1000 * middle:5.0f} ms")
            curves = client.get(f"/ui/jobs/{long_job}/metrics")
            n_points = sum(len(each["steps"]) for each in curves.json()["curves"].values())
            sent = int(curves.headers.get("content-length", len(curves.content)))
            print(f"curves of {LONG} steps: {n_points} points, {sent / 1000:.0f} KB")
        if shutil.which("chromium") and importlib.util.find_spec("playwright"):
            from tests.bench.painting import measure  # noqa: PLC0415 - others want only what is above

            measure(server, long_job, runs=RUNS)
        else:
            print(
                "nothing measured in a browser: that takes Chromium and Playwright (make test-browser)"
            )


if __name__ == "__main__":
    main()
