"""The final adapter in its engine before its proof is there: used where it proves it, else nothing of it is left."""

import asyncio
import dataclasses
import json
import time

import numpy as np
import pytest
from safetensors.numpy import save_file

from jobs.bases.catalog import NANO_DIRECTORY
from jobs.claims import Claim
from jobs.early_baseline import open_early_baseline
from jobs.proving import open_early_adapter
from jobs.publishing import publish
from jobs.services import open_services
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure, ModelServerUnavailable
from schemas.proof import ASKED, PROOF, Proof, ProofExample
from schemas.training import AdapterSaved, ModelChosen, TrainingDone
from tests import samples

BASE = BaseModelInfo(
    name="retune-nano",
    directory=NANO_DIRECTORY,
    context_length=64,
    hidden_size=192,
    model_type="llama",
    n_parameters=1,
    digest="d",
    created=1,
)
LAYER = "base_model.model.model.layers.0.mlp.down_proj"
UNTUNED, TUNED = -2.0, -0.5
DONE = TrainingDone(trained_tokens=30, loss_tokens=10)


class Engine:
    """All engines, which are one: says how it holds each token, and remembers what it was asked."""

    def __init__(self):
        self.asked = []
        self.resident = []
        self.left = []
        self.tuned = [TUNED]
        """With an adapter, each time that it is asked; the last counts for all that follow."""
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.refusals = []
        self.has_refused = False

    async def ready(self, *_, **__):
        return self

    async def base_name(self, *_):
        return "base-1"

    async def context_length(self):
        return 64

    async def ensure(self, _, adapter):
        if self.refusals:
            self.has_refused = True
            raise self.refusals.pop()
        self.resident.append(adapter.id)

    async def unload(self, _, adapter_id):
        self.left.append(adapter_id)
        if adapter_id in self.resident:
            self.resident.remove(adapter_id)

    async def prompt_logprobs(self, model, token_ids_batch):
        self.asked.append(model)
        if model == "base-1":
            said = UNTUNED
        else:
            await self.may_answer.wait()
            said = self.tuned.pop(0) if len(self.tuned) > 1 else self.tuned[0]
        return [[None, *[said] * (len(ids) - 1)] for ids in token_ids_batch]


def proof(*, asked=False):
    example = ProofExample(
        token_ids=[5, 6, 7],
        positions=[1, 2],
        base_logprobs=[] if asked else [UNTUNED] * 2,
        tuned_logprobs=[] if asked else [TUNED] * 2,
    )
    return Proof(base_digest="d", template_digest="t", from_validation=False, examples=[example])


@pytest.fixture
def adapter_dir(tmp_path):
    """What a trainer writes first, and beside it what it will ask."""
    directory = tmp_path / "step-3"
    directory.mkdir()
    tensors = {
        f"{LAYER}.lora_A.weight": np.ones((2, 512), np.float32),
        f"{LAYER}.lora_B.weight": np.ones((192, 2), np.float32),
    }
    save_file(tensors, directory / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["down_proj"]}
    (directory / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / ASKED).write_text(proof(asked=True).model_dump_json())
    return directory


@pytest.fixture
def engine():
    return Engine()


@pytest.fixture
async def claim(settings, engine):
    """A running job of ours: records and blobs are real, the engine is not."""
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_services(settings) as opened:
        services = dataclasses.replace(opened, engines=engine)
        record = samples.record(status="running")
        await services.store.jobs.add(record, [])
        taken = await services.store.jobs.claim(
            record.job.id,
            lambda r: Outcome(record=r),
            owner="worker-test",
            validating=False,
            now=time.time(),
            lease=30.0,
        )
        yield Claim(services, taken)


async def published(claim, adapter_dir, *, chosen=3, handed_over=True):
    """Do as a worker does: hear of the adapter, then of its proof; return the model's name."""
    engines = claim.services.engines
    async with (
        open_early_baseline(engines, BASE, adapter_dir.parent) as baseline,
        open_early_adapter(claim, BASE, baseline) as early,
    ):
        baseline.begin()
        if handed_over:
            early.begin(AdapterSaved(step=3, adapter_dir=adapter_dir))
            await until(lambda: adapters_asked(engines) or engines.has_refused)
        (adapter_dir / PROOF).write_text(proof().model_dump_json())
        model = ModelChosen(step=chosen, adapter_dir=adapter_dir, message=None)
        return await publish(claim, BASE, model, DONE, baseline=baseline, early=early)


async def until(is_true):
    async with asyncio.timeout(20):
        while not is_true():
            await asyncio.sleep(0)


def adapters_asked(engine):
    return [name for name in engine.asked if name != "base-1"]


async def test_it_is_published_by_what_was_answered_before(claim, engine, adapter_dir):
    """The engine is asked once, while the trainer still works; the proof then lies beside the adapter."""
    name = await published(claim, adapter_dir)

    (asked,) = adapters_asked(engine)
    model = await claim.services.store.models.find(name, project_id="proj_a")
    assert model is not None
    assert model.adapter_id == asked
    assert engine.resident == [asked]
    kept = claim.services.blobs.adapter_dir(asked)
    assert (kept / PROOF).read_bytes() == (adapter_dir / PROOF).read_bytes()
    assert (await claim.services.store.jobs.get(claim.job_id)).job.status == "succeeded"


async def test_without_it_all_is_done_at_the_end(claim, engine, adapter_dir):
    """A trainer that does not say which adapter is the final one is published all the same."""
    await published(claim, adapter_dir, handed_over=False)

    assert engine.resident == adapters_asked(engine)
    assert len(engine.resident) == 1


async def test_what_is_not_proven_early_is_measured_anew(claim, engine, adapter_dir):
    """An early answer decides nothing against a job: the adapter is loaded and asked once more."""
    engine.tuned = [UNTUNED, TUNED]

    await published(claim, adapter_dir)

    first, second = adapters_asked(engine)
    assert (engine.left, engine.resident) == ([first], [second])


async def test_what_is_never_proven_is_in_no_engine(claim, engine, adapter_dir):
    """An engine that ignores the adapter fails the job, and answers to none of its names."""
    engine.tuned = [UNTUNED]

    with pytest.raises(JobFailure, match="as if it were not there"):
        await published(claim, adapter_dir)
    assert engine.resident == []


async def test_an_engine_that_fails_once_costs_no_job(claim, engine, adapter_dir):
    """What fails early is tried again at the end, and nothing of the first attempt is left."""
    engine.refusals = [ModelServerUnavailable("starting")]

    await published(claim, adapter_dir)

    assert engine.refusals == []
    assert engine.resident == adapters_asked(engine)


async def test_another_choice_leaves_nothing_of_it(claim, engine, adapter_dir):
    """Where an earlier step's model is the final one, the adapter that was handed over leaves the engine."""
    await published(claim, adapter_dir, chosen=2)

    early, final = adapters_asked(engine)
    assert (engine.left, engine.resident) == ([early], [final])


async def test_a_job_that_ends_takes_it_along(claim, engine, adapter_dir):
    """Cancelled while the engine is asked, nothing is under way and no adapter is left in it."""
    engine.may_answer.clear()
    before = asyncio.all_tasks()
    async with (
        open_early_baseline(engine, BASE, adapter_dir.parent) as baseline,
        open_early_adapter(claim, BASE, baseline) as early,
    ):
        baseline.begin()
        early.begin(AdapterSaved(step=3, adapter_dir=adapter_dir))
        early.begin(AdapterSaved(step=3, adapter_dir=adapter_dir))
        await until(lambda: adapters_asked(engine))
    assert asyncio.all_tasks() == before
    assert engine.resident == []
