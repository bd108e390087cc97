"""A page costs what it holds, not what the list holds."""

import asyncio

from jobs.store.migrate import migrate
from jobs.store.store import open_store
from tests.bench.paging import measure


async def test_a_page_of_a_long_list_costs_that_of_a_short_one(short_tmp_path):
    """Among 3,000 files and 20,000 events the first and the last page take about the time of 100 rows alone."""
    url = f"sqlite:///{short_tmp_path / 'retune.db'}"
    await asyncio.to_thread(migrate, url)
    async with open_store(url) as store:
        for cost in await measure(store, n_files=3_000, n_events=20_000, runs=30):
            # Reading all rows would take 30 and 200 times as long.
            assert cost.ratio < 5, cost
