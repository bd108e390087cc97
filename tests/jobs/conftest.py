"""A process's services, and a worker that runs."""

import asyncio
from importlib.util import find_spec

import pytest

# An operator may leave wandb out, and so may a developer.
collect_ignore = [] if find_spec("wandb") else ["test_wandb_run.py"]


@pytest.fixture
async def services(settings, redis_url):
    """All that a process of ours opens, on directories and databases of the test's own."""
    # Not before `pytest_configure` has chosen the SQLite.
    from jobs.services import open_services  # noqa: PLC0415
    from jobs.store.migrate import migrate  # noqa: PLC0415

    settings = settings.model_copy(update={"redis_url": redis_url})
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_services(settings) as opened:
        yield opened


@pytest.fixture
async def worker(services):
    """A worker at work."""
    from jobs.worker import Worker  # noqa: PLC0415 - as above

    running = Worker(services)
    task = asyncio.create_task(running.run())
    yield running
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
