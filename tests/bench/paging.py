"""What a page of a long list costs, beside one of a short list: `python -m tests.bench.paging`.

10,000 files and 100,000 events against 100, first page against last; 100 rows a page, on SQLite.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from api.cli.main import use_fixed_sqlite

if __name__ == "__main__":
    use_fixed_sqlite()  # before anything loads another

from sqlalchemy import insert

from jobs.store.migrate import migrate
from jobs.store.store import Store, open_store
from jobs.store.tables import files, job_events
from schemas.fine_tuning import Event
from tests.servers import private_directory

SHORT = 100
LIMIT = 100


@dataclass(frozen=True)
class Cost:
    """Seconds of a page of one list, each the smallest of many."""

    what: str
    rows: int
    short: float
    """Of the only page of a list of `SHORT` rows."""
    first: float
    last: float

    @property
    def ratio(self) -> float:
        return max(self.first, self.last) / self.short

    def __str__(self) -> str:
        short, first, last = (
            f"{1000 * value:.2f}" for value in (self.short, self.first, self.last)
        )
        return (
            f"{self.what:7} {self.rows:7} rows: first page {first} ms, last {last} ms;"
            f" {SHORT} rows: {short} ms; ratio {self.ratio:.2f}"
        )


async def measure(store: Store, *, n_files: int, n_events: int, runs: int) -> list[Cost]:
    """Fill an empty store with a long and a short list of each kind, and read their pages."""
    for project, count in (("proj_long", n_files), ("proj_short", SHORT)):
        await add_files(store, project, count)
    for job, count in (("ftjob-long", n_events), ("ftjob-short", SHORT)):
        await add_events(store, job, count)

    async def page_of_files(project: str, after: str | None) -> None:
        page = await store.files.page(
            project_id=project, purpose=None, limit=LIMIT, after=after, order="desc"
        )
        assert len(page.data) == LIMIT

    async def page_of_events(job: str, after: str | None) -> None:
        page = await store.jobs.events(job, limit=LIMIT, after=after)
        assert len(page.data) == LIMIT

    costs = []
    for what, rows, ask, names in (
        ("files", n_files, page_of_files, ("proj_long", "proj_short")),
        ("events", n_events, page_of_events, ("ftjob-long", "ftjob-short")),
    ):
        long, short = names
        costs.append(
            Cost(
                what,
                rows,
                short=await smallest(partial(ask, short, None), runs),
                first=await smallest(partial(ask, long, None), runs),
                last=await smallest(partial(ask, long, f"{long}-{LIMIT}"), runs),
            )
        )
    return costs


async def add_files(store: Store, project: str, count: int) -> None:
    """Ids end in the row's number; the oldest is 0."""
    rows = [
        {
            "id": f"{project}-{number}",
            "project_id": project,
            "filename": "a.jsonl",
            "purpose": "fine-tune",
            "bytes": 5,
            "sha256": "0" * 64,
            "created_at": number,
        }
        for number in range(count)
    ]
    async with store.database.write() as connection:
        await connection.execute(insert(files), rows)


async def add_events(store: Store, job: str, count: int) -> None:
    event = Event(
        id="ftevent-1", created_at=1, message="Step 1/9: training loss=0.22"
    ).model_dump_json()
    rows = [
        {
            "id": f"{job}-{number}",
            "job_id": job,
            "dedupe_key": f"step-{number}",
            "created_at": number,
            "event": event,
        }
        for number in range(count)
    ]
    async with store.database.write() as connection:
        await connection.execute(insert(job_events), rows)


async def smallest(ask: Callable[[], Awaitable[None]], runs: int) -> float:
    """Return the seconds of the fastest of `runs`."""
    seconds = []
    for _ in range(runs):
        began = time.perf_counter()
        await ask()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


async def run(url: str) -> list[Cost]:
    async with open_store(url) as store:
        return await measure(store, n_files=10_000, n_events=100_000, runs=100)


def main() -> None:
    with private_directory("retune-paging-") as directory:
        url = f"sqlite:///{directory / 'retune.db'}"
        migrate(url)
        for cost in asyncio.run(run(url)):
            print(cost)


if __name__ == "__main__":
    main()
