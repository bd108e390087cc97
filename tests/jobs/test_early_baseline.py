"""The engine's base, asked beside the training: used where it was asked the proof's own questions, else nothing."""

import asyncio

import pytest

from jobs.early_baseline import open_early_baseline
from schemas.bases import BaseModelInfo
from schemas.errors import ModelServerUnavailable
from schemas.proof import ASKED, Proof, ProofExample
from serving.proof import Baseline

BASE = BaseModelInfo(
    name="base",
    directory="/nowhere",
    context_length=64,
    hidden_size=8,
    model_type="llama",
    n_parameters=1,
    digest="d",
    created=1,
)


class Engine:
    """Is as sure of every token as it was made to be; holds back its answer until it may give it."""

    def __init__(self):
        self.n_asked = 0
        self.may_answer = asyncio.Event()
        self.failure = None

    async def ready(self, *_, **__):
        if self.failure is not None:
            raise self.failure
        return self

    async def base_name(self, *_):
        return "base-1"

    async def context_length(self):
        return 64

    async def prompt_logprobs(self, _, token_ids_batch):
        self.n_asked += 1
        await self.may_answer.wait()
        return [[None, *[-0.5] * (len(ids) - 1)] for ids in token_ids_batch]


@pytest.fixture
def engine():
    return Engine()


def proof(*, token_ids=(5, 6, 7), answers=()):
    example = ProofExample(
        token_ids=list(token_ids),
        positions=[1, 2],
        base_logprobs=list(answers),
        tuned_logprobs=list(answers),
    )
    return Proof(base_digest="d", template_digest="t", from_validation=False, examples=[example])


def early(engine, directory):
    return open_early_baseline(engine, BASE, directory)


async def test_it_is_measured_while_others_work(engine, tmp_path):
    """Begun, it runs by itself; the proof finds it done and asks no more."""
    (tmp_path / ASKED).write_text(proof().model_dump_json())
    async with early(engine, tmp_path) as baseline:
        baseline.begin()
        baseline.begin()
        engine.may_answer.set()
        found = await baseline.on(proof(answers=[-1.0, -1.0]))
    assert found == Baseline(logprobs=[[-0.5, -0.5]])
    assert engine.n_asked == 1


async def test_other_questions_are_not_answered_by_it(engine, tmp_path):
    """A proof on other examples, as another attempt might bring, is measured anew."""
    (tmp_path / ASKED).write_text(proof().model_dump_json())
    engine.may_answer.set()
    async with early(engine, tmp_path) as baseline:
        baseline.begin()
        assert await baseline.on(proof(token_ids=[5, 6, 8])) is None


@pytest.mark.parametrize("text", [None, "{", "{}"], ids=["missing", "cut", "empty"])
async def test_without_questions_there_is_none(engine, tmp_path, text):
    """What the trainer did not say, or not whole, is asked later."""
    if text is not None:
        (tmp_path / ASKED).write_text(text)
    async with early(engine, tmp_path) as baseline:
        baseline.begin()
        assert await baseline.on(proof()) is None
    assert engine.n_asked == 0


async def test_an_engine_that_is_not_there_is_the_proofs_business(engine, tmp_path):
    """Nothing fails before its time."""
    (tmp_path / ASKED).write_text(proof().model_dump_json())
    engine.failure = ModelServerUnavailable("starting")
    async with early(engine, tmp_path) as baseline:
        baseline.begin()
        assert await baseline.on(proof()) is None


async def test_never_begun_there_is_none(engine, tmp_path):
    """A trainer that went on after its last step says no more that it started."""
    async with early(engine, tmp_path) as baseline:
        assert await baseline.on(proof()) is None


async def test_nothing_of_it_is_left(engine, tmp_path):
    """A job that ends while the base is asked leaves no task behind."""
    (tmp_path / ASKED).write_text(proof().model_dump_json())
    before = asyncio.all_tasks()
    async with early(engine, tmp_path) as baseline:
        baseline.begin()
        async with asyncio.timeout(10):
            while engine.n_asked == 0:
                await asyncio.sleep(0)
    assert asyncio.all_tasks() == before


async def test_spoilt_questions_are_not_quoted(engine, tmp_path, caplog):
    """What cannot be read is asked once more, for the proof, and the log shows no token of it."""
    (tmp_path / ASKED).write_text('{"examples": [{"token_ids": ["31337"]}]}')
    async with early(engine, tmp_path) as baseline:
        baseline.begin()
        assert await baseline.on(proof()) is None
    assert "cannot be read" in caplog.text
    assert "31337" not in caplog.text
