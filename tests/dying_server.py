"""A server that is killed between the commit of a job and the response: `python -m tests.dying_server DIR REDIS`."""

import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn

from api.cli.main import use_fixed_sqlite

use_fixed_sqlite()

from api.app import create_app  # noqa: E402 - after the SQLite is chosen
from jobs.queue import Queue  # noqa: E402
from jobs.services import Services  # noqa: E402
from schemas.settings import Settings  # noqa: E402
from tests.api_server import opener  # noqa: E402


class DyingQueue(Queue):
    """A worker is woken when the job is committed: just then the process dies, as by kill -9."""

    async def kick(self, _job_id: str) -> bool:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


@dataclass
class NoEngine:
    url: str = "http://127.0.0.1:9"


@asynccontextmanager
async def open_dying(settings: Settings) -> AsyncGenerator[Services]:
    async with opener(NoEngine())(settings) as services:
        yield replace(services, queue=DyingQueue(settings.effective_redis_url))


if __name__ == "__main__":
    directory, redis_url, port = sys.argv[1:]
    settings = Settings(
        data_dir=Path(directory), bases_dir=Path(directory) / "bases", redis_url=redis_url
    )
    uvicorn.run(create_app(settings, open_services=open_dying), port=int(port), log_level="warning")
