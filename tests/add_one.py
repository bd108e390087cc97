"""A process that adds one to a job's tokens forty times: `python -m tests.add_one DATABASE_URL JOB_ID`."""

from api.cli.main import use_fixed_sqlite

use_fixed_sqlite()

import asyncio  # noqa: E402 - the SQLite first, as the entry point does
import sys  # noqa: E402

from jobs.store.jobs import Outcome  # noqa: E402
from jobs.store.records import JobRecord  # noqa: E402
from jobs.store.store import open_store  # noqa: E402


def add_one(record: JobRecord) -> Outcome:
    count = (record.job.trained_tokens or 0) + 1
    job = record.job.model_copy(update={"trained_tokens": count})
    return Outcome(record=record.model_copy(update={"job": job}))


async def main(url: str, job_id: str) -> None:
    async with open_store(url) as store:
        await asyncio.gather(*(store.jobs.change(job_id, add_one) for _ in range(40)))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
