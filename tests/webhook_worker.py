"""A process that sends webhooks from a data directory's outbox until it is killed."""

import asyncio
import sys
from pathlib import Path

from api.cli.main import use_fixed_sqlite


async def main(data_dir: Path) -> None:
    """Send."""
    from jobs.services import open_services  # noqa: PLC0415 - after the SQLite is chosen
    from jobs.webhooks.deliveries import Deliveries  # noqa: PLC0415
    from schemas.settings import Settings  # noqa: PLC0415

    settings = Settings(
        data_dir=data_dir, bases_dir=data_dir / "bases", webhook_allow_private="127.0.0.0/8"
    )
    async with open_services(settings) as services:
        await Deliveries(services).run()


if __name__ == "__main__":
    use_fixed_sqlite()
    asyncio.run(main(Path(sys.argv[1])))
