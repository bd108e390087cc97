"""When an engine should run, and which adapters may go before it does."""

import asyncio
import os
import time

import pytest

from jobs.engine_keeper import EngineKeeper, is_wanted
from jobs.services import open_services
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.records import EngineRecord, ModelRecord
from tests import samples


@pytest.mark.parametrize(
    ("wanted_at", "idle_seconds", "expected"),
    [
        (0, 0, False),  # never asked for
        (1, 0, True),  # asked for once, and engines never stop
        (900, 200, True),  # asked for lately
        (700, 200, False),  # not any more
        (950, 1, True),  # a second is too short: an answer takes longer
        (930, 1, False),
    ],
)
def test_an_engine_runs_while_somebody_asks_for_it(wanted_at, idle_seconds, expected):
    """At 1,000 s, with what was asked when and how long an engine may rest."""
    record = EngineRecord(base="b", wanted_at=wanted_at, state="ready")
    assert is_wanted(record, idle_seconds=idle_seconds, now=1000) is expected


async def test_only_old_adapters_that_no_model_names_are_deleted(settings):
    """A model's adapter stays though its base is not offered today; so does one of the last day."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    now = time.time()
    async with open_services(settings) as services:
        for adapter_id, age in (("adapter-named", 1e6), ("adapter-old", 1e6), ("adapter-new", 60)):
            directory = services.blobs.adapter_dir(adapter_id)
            directory.mkdir()
            os.utime(directory, (now - age, now - age))
        model = ModelRecord(
            name="ft:gone:local::AbCd1234",
            project_id="proj_a",
            organization_id="local",
            base="a base that is not offered",
            adapter_id="adapter-named",
            job_id="ftjob-1",
            created_at=1,
        )
        record = samples.record()
        await services.store.jobs.add(record, [])
        await services.store.jobs.change(record.job.id, lambda r: Outcome(record=r, model=model))

        await EngineKeeper(services).delete_unnamed_adapters(now=now)

        assert set(services.blobs.adapter_ids()) == {"adapter-named", "adapter-new"}
