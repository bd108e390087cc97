"""A job that fits no worker is refused when it is created, before anything is recorded."""

import asyncio
import dataclasses
import json
import re
import time

import pytest

from jobs import files, fine_tuning
from jobs.bases.catalog import NANO_DIRECTORY, Catalog
from jobs.dry_run import dry_run
from jobs.memory_estimate import PROCESS_BYTES
from jobs.memory_fit import trainer_memory
from jobs.store.records import TrainerMemory, WorkerRecord
from schemas.bases import BaseModelInfo
from schemas.errors import InvalidRequest
from schemas.fine_tuning import JobError
from schemas.fine_tuning_requests import JobCreate
from tests.jobs.claims_made import CALLER

NANO = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=1024,
    hidden_size=192,
    model_type="llama",
    n_parameters=2_757_312,
    digest="d",
    created=1,
)
FIXED = PROCESS_BYTES + 2 * 2 * NANO.n_parameters
"""Bytes of nano in training, but for its adapter."""


ADAPTER = 16 * 325_632
"""Of its adapter of rank 16."""


@pytest.fixture
async def house(services):
    """Services that offer nano, and a file of short and long examples."""
    services = dataclasses.replace(services, catalog=Catalog([NANO]))
    lines = [example("Yes."), example("No. " * 300)] * 6
    async with services.blobs.incoming() as incoming:
        await incoming.write("\n".join(lines).encode())
        blob = await incoming.finish()
        file = await files.create(services, CALLER, blob, filename="a.jsonl", purpose="fine-tune")
    return services, file.id


def example(answer):
    asked = {"role": "user", "content": "Is it?"}
    return json.dumps({"messages": [asked, {"role": "assistant", "content": answer}]})


async def beat(services, total_bytes, *, worker="worker-a", ago=0):
    trainer = TrainerMemory(total_bytes=total_bytes, bytes_each=2) if total_bytes else None
    seen_at = time.time() - ago
    await services.store.machines.beat(
        WorkerRecord(id=worker, host="h", pid=1, seen_at=seen_at, trainer=trainer)
    )


async def create(services, file_id, **hyperparameters):
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    request = JobCreate.model_validate(
        {"model": "retune-nano", "training_file": file_id, "method": method}
    )
    return await fine_tuning.create(services, CALLER, request)


async def refused(services, file_id, **hyperparameters):
    """Return the refusal; nothing is recorded with it."""
    with pytest.raises(InvalidRequest) as caught:
        await create(services, file_id, **hyperparameters)
    assert (await services.store.jobs.claimable(validating=True, now=time.time())) == []
    assert (caught.value.status, caught.value.code) == (400, "out_of_memory")
    return caught.value


async def test_what_is_not_known_refuses_nobody(house):
    """Without a worker, and beside one whose trainers use memory that it cannot ask about."""
    services, file_id = house
    assert (await create(services, file_id)).status == "validating_files"
    await beat(services, 1_000_000, ago=3600)
    assert await create(services, file_id)
    await beat(services, 1_000_000)
    await beat(services, None, worker="worker-gpu")
    assert await create(services, file_id)


async def test_a_base_beyond_every_worker(house):
    """How much is needed, how much the largest has, and what to do."""
    services, file_id = house
    await beat(services, 200 * 2**20)
    await beat(services, 300 * 2**20, worker="worker-b")
    error = await refused(services, file_id)
    assert error.param == "model"
    assert "at least 0.5 GiB of memory, and the largest worker's trainer has 0.3 GiB" in str(error)
    assert "Choose a smaller base" in str(error)
    await beat(services, 2**30, worker="worker-b")
    assert await create(services, file_id)


async def test_a_rank_beyond_every_worker(house):
    """The largest one that fits is named, and does."""
    services, file_id = house
    await beat(services, FIXED + ADAPTER)
    error = await refused(services, file_id, lora_rank=64)
    assert error.param == "method.supervised.hyperparameters.lora_rank"
    fitting = int(re.search(r"Rank (\d+) would fit", str(error))[1])
    assert 8 < fitting < 16
    with pytest.raises(InvalidRequest, match="The longest example"):
        await create(services, file_id, lora_rank=fitting)


async def test_an_example_beyond_every_worker(house):
    """A small file is looked at where its longest example decides; a dry run says the same."""
    services, file_id = house
    await beat(services, FIXED + ADAPTER + 5_000_000)
    error = await refused(services, file_id)
    assert error.param == "training_file"
    assert re.search(r"The longest example, of [3-9]\d\d tokens, would take about", str(error))
    request = JobCreate(model="retune-nano", training_file=file_id)
    told = await dry_run(services, CALLER, request)
    assert not told.would_train
    assert told.error == JobError(code="out_of_memory", message=str(error), param="training_file")
    await beat(services, FIXED + ADAPTER + 40_000_000)
    assert await create(services, file_id)


async def test_a_worker_tells_of_its_trainers(services, worker):
    """With its first sign of life, where trainers use the machine's memory."""
    async with asyncio.timeout(10):
        while not (alive := await services.store.machines.workers(seen_after=0)):
            await asyncio.sleep(0.02)
    assert alive[0].trainer == trainer_memory(n_processes=1)
