"""The real wandb, offline; collected only where it is installed."""

import asyncio
import struct

import pytest
from wandb.proto import wandb_internal_pb2

from jobs.wandb_mirror import mirrored
from schemas.fine_tuning import Integration, WandbIntegration
from tests.jobs.claims_made import claimed, messages
from tests.jobs.test_wandb_mirror import step

BLOCK = 32 * 1024
FULL, LAST = 1, 4


def records(path):
    """Yield the records of an offline run: LevelDB's log format behind seven bytes of header."""
    content, place, record = path.read_bytes(), 7, b""
    while place < len(content):
        left = BLOCK - place % BLOCK
        if left < 7:
            place += left
            continue
        _crc, length, kind = struct.unpack_from("<IHB", content, place)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in {FULL, LAST}:
            yield wandb_internal_pb2.Record.FromString(record)
            record = b""


def read_run(path):
    """Return an offline run's header, its metrics by step, and its exit code."""
    steps, header, exit_code = {}, None, None
    for line in records(path):
        match line.WhichOneof("record_type"):
            case "run":
                header = line.run
            case "history":
                values = {i.key or ".".join(i.nested_key): i.value_json for i in line.history.item}
                steps[line.history.step.num] = values
            case "exit":
                exit_code = line.exit.exit_code
    return header, steps, exit_code


async def test_a_job_is_mirrored_to_an_offline_run(services, monkeypatch):
    """Project, name, tags, each step's loss and the good end are in the run's own file."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    wandb = WandbIntegration(project="p", entity="team", tags=["mine"], run_id="ftjob-1")
    claim = await claimed(services, integrations=[Integration(wandb=wandb)])
    async with mirrored(claim) as mirror:
        mirror.add([step(1).event, step(2).event])
        async with asyncio.timeout(60):
            while not any("offline run" in m for m in await messages(services, claim.job_id)):
                await asyncio.sleep(0.05)
        mirror.succeeded("ft:m")
    (path,) = (services.settings.data_dir / "wandb").rglob("run-ftjob-1.wandb")
    run, steps, exit_code = read_run(path)
    assert (run.project, run.entity, run.display_name) == ("p", "team", claim.job_id)
    assert "mine" in run.tags
    assert {number: values["train_loss"] for number, values in steps.items()} == {1: "1", 2: "0.5"}
    assert exit_code == 0


@pytest.mark.slow
async def test_an_unreachable_server_is_a_warning(services, monkeypatch):
    """Nobody answers: the job's log says so."""
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    wandb = WandbIntegration(project="p", run_id="ftjob-1")
    claim = await claimed(services, integrations=[Integration(wandb=wandb)])
    async with mirrored(claim, grace=1), asyncio.timeout(90):
        while not any("are not mirrored" in m for m in await messages(services, claim.job_id)):
            await asyncio.sleep(0.1)
