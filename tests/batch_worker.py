"""A worker process: `python -m tests.batch_worker DATA_DIR REDIS_URL ENGINE_URL [BASE_DIR]`."""

from api.cli.main import use_fixed_sqlite

use_fixed_sqlite()

import asyncio  # noqa: E402 - the SQLite first, as the entry point does
import sys  # noqa: E402
from pathlib import Path  # noqa: E402
from types import SimpleNamespace  # noqa: E402

from jobs.worker import Worker  # noqa: E402
from schemas.settings import Settings  # noqa: E402
from tests.api_server import catalog, opener  # noqa: E402


async def main(data_dir: str, redis_url: str, engine_url: str, base_dir: str = "/nowhere") -> None:
    engine = SimpleNamespace(url=engine_url)
    offered = catalog(engine, directory=Path(base_dir))
    settings = Settings(
        data_dir=Path(data_dir),
        bases_dir=Path(data_dir),
        redis_url=redis_url,
        warm_trainer=False,  # nothing is trained here
    )
    async with opener(engine, offered=offered)(settings) as services:
        await Worker(services).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
