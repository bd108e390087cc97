"""An adapter comes to an engine: for the first time, and again, when its template may have changed."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.engines import AdapterRef
from jobs.proving import check_rendering
from jobs.rendering_watch import RenderingWatch
from jobs.store.jobs import NewEvent
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure, ModelServerUnavailable
from schemas.rendering import RENDERING, RenderingSample, RenderingSamples
from schemas.training_file import chat_messages
from serving.vllm import Vllm
from tests.serving.scripted_vllm import ScriptedVllm, serving

BASE = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=1024,
    hidden_size=192,
    model_type="llama",
    n_parameters=1,
    digest="d" * 64,
    created=1,
)
TRAINED = {"my aunt's address": [1, 2], "my uncle's": [3, 4]}
"""What is said in an adapter's two conversations, and their tokens."""


@dataclass
class Arrival:
    """An adapter that comes to an engine."""

    adapter_dir: Path
    rendered: dict[str, list[int]] = field(default_factory=TRAINED.copy)
    asked: int = 0
    watch: RenderingWatch = field(default_factory=RenderingWatch)
    vllm: Vllm | None = None

    def render(self, request: dict) -> tuple[int, str]:
        self.asked += 1
        return 200, json.dumps({"tokens": self.rendered[request["messages"][0]["content"]]})

    async def come(self) -> None:
        await self.watch.ensure(
            self.vllm, base=BASE, adapter_id="adapter-1", adapter_dir=self.adapter_dir
        )


@pytest.fixture
async def arrival(tmp_path: Path, short_tmp_path: Path) -> AsyncIterator[Arrival]:
    """An adapter with samples, and an engine that renders as training did until told otherwise."""
    kept = [
        RenderingSample(
            messages=chat_messages.validate_python([{"role": "user", "content": said}]),
            token_ids=token_ids,
        )
        for said, token_ids in TRAINED.items()
    ]
    samples = RenderingSamples(template_digest="t", reads_clock=False, samples=kept)
    (tmp_path / RENDERING).write_text(samples.model_dump_json())
    coming = Arrival(tmp_path)
    engine = ScriptedVllm(renders=coming.render)
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        coming.vllm = vllm
        yield coming


async def at_publication(arrival: Arrival) -> list[NewEvent]:
    adapter = AdapterRef("adapter-1", arrival.adapter_dir)
    return await check_rendering(arrival.vllm, BASE, adapter, base_name="base-1")


async def test_a_new_model_is_held_to_every_conversation(arrival):
    """At publication a single difference fails the job, with its own code and without what is said."""
    assert await at_publication(arrival) == []
    arrival.rendered = TRAINED | {"my uncle's": [3, 4, 5]}
    with pytest.raises(JobFailure) as failed:
        await at_publication(arrival)
    assert failed.value.code == "template_mismatch"
    assert failed.value.message.startswith(
        "The tuned model is not published, because the engine renders 1 of 2 conversations to other "
        "tokens than training saw. In sample 2, of 1 messages, training had 2 tokens and the engine "
        "has 3; they part after 2. Give the engine the chat template"
    )


async def test_a_new_model_on_an_engine_that_does_not_tell(arrival, short_tmp_path):
    """At publication an engine without the route is a warning of the job's, not its end."""
    directory = short_tmp_path / "deaf"
    directory.mkdir()
    async with serving(ScriptedVllm(), directory) as url, Vllm(url) as deaf:
        arrival.vllm = deaf
        (told,) = await at_publication(arrival)
    assert told.event.level == "warn"
    assert "serves no /tokenize" in told.event.message


async def test_an_adapter_is_looked_at_once(arrival):
    """The engine is asked once for each adapter, and again when it has restarted."""
    for _ in range(3):
        await arrival.come()
    assert arrival.asked == 2
    arrival.watch.forget(arrival.vllm)
    await arrival.come()
    assert arrival.asked == 4


async def test_many_at_once_look_once(arrival):
    """Requests that come together share a look, good or bad; one that gives up takes it from nobody."""
    first, *others = [asyncio.create_task(arrival.come()) for _ in range(20)]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(*others)
    assert first.cancelled()
    assert arrival.asked == 2
    arrival.watch.forget(arrival.vllm)
    arrival.rendered = {said: [9] for said in TRAINED}
    found = await asyncio.gather(*(arrival.come() for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in found} == {ModelServerUnavailable}
    assert arrival.asked == 4


async def test_a_model_of_another_template_is_not_served(arrival, caplog):
    """Where the engine renders nothing as in training, requests are refused, until it does again."""
    arrival.rendered = {said: [9] for said in TRAINED}
    for _ in range(2):
        with pytest.raises(ModelServerUnavailable, match="renders all of 2 conversations"):
            await arrival.come()
    told = [record for record in caplog.records if record.name == "jobs.rendering_watch"]
    assert len(told) == 1
    arrival.rendered = TRAINED
    await arrival.come()


async def test_some_differences_are_told_to_the_operator(arrival, caplog):
    """Where some are rendered otherwise, the log says so, without what is said, and the model answers."""
    arrival.rendered = TRAINED | {"my uncle's": [3, 5]}
    with caplog.at_level(logging.WARNING):
        await arrival.come()
        await arrival.come()
    (record,) = caplog.records
    assert "adapter=adapter-1 the engine renders 1 of 2" in record.getMessage()
    assert "uncle" not in record.getMessage()


async def test_what_cannot_be_checked_is_served(arrival, caplog, short_tmp_path, tmp_path_factory):
    """An engine without the route serves the model, which is told; an adapter of old carries no samples."""
    arrival.watch.forget(arrival.vllm)
    directory = short_tmp_path / "deaf"
    directory.mkdir()
    async with serving(ScriptedVllm(), directory) as url, Vllm(url) as deaf:
        arrival.vllm = deaf
        await arrival.come()
        assert "cannot be checked" in caplog.text
        caplog.clear()
        arrival.watch.forget(deaf)
        arrival.adapter_dir = tmp_path_factory.mktemp("old")
        await arrival.come()
    assert caplog.records == []


async def test_a_spoilt_file_stops_nothing(arrival, caplog):
    """Samples that somebody spoilt are told of, not quoted, and the model answers."""
    (arrival.adapter_dir / RENDERING).write_text('{"samples": "uncle"}')
    await arrival.come()
    assert "cannot be checked" in caplog.text
    assert "uncle" not in caplog.text
