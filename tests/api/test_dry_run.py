"""`dry_run` on job creation: what a job would do, and that there is none."""

import asyncio
import json
from collections.abc import Iterator

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from jobs import events
from jobs.bases.catalog import NANO_DIRECTORY, Catalog
from jobs.dry_run import MAX_BYTES
from jobs.keys import create_key
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.bases import BaseModelInfo
from schemas.settings import Settings
from tests.api_server import opener, serving
from tests.fake_engine import running_fake_engine
from tests.samples import record
from tests.servers import private_directory

ANSWER = {"role": "assistant", "content": "b"}
GOOD = json.dumps({"messages": [{"role": "user", "content": "a"}, ANSWER]})
LONG = json.dumps({"messages": [{"role": "user", "content": "a " * 9_000}, ANSWER]})


@pytest.fixture(scope="module")
def dry(redis_server_url: str) -> Iterator[tuple[OpenAI, Settings]]:
    """A server that offers the tiny base, which is real."""
    from api.app import create_app  # noqa: PLC0415 - after the SQLite is chosen

    with (
        private_directory("retune-dry-") as directory,
        running_fake_engine(directory / "engine.sock") as engine,
    ):
        settings = Settings(
            data_dir=directory / "data", bases_dir=directory, redis_url=redis_server_url
        )
        migrate(settings.effective_database_url)
        asyncio.run(_make_key(settings))
        base = BaseModelInfo(
            name="retune-nano",
            directory=NANO_DIRECTORY,
            context_length=512,
            hidden_size=192,
            model_type="llama",
            n_parameters=1,
            digest="d",
            created=1,
        )
        app = create_app(settings, open_services=opener(engine, offered=Catalog([base])))
        with (
            serving(app, settings) as url,
            OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0) as client,
        ):
            yield client, settings


async def _make_key(settings: Settings) -> None:
    async with open_store(settings.effective_database_url) as store:
        await create_key(store, name="dry", organization_id="local", key="k")


def upload(client: OpenAI, *lines: str) -> str:
    content = "\n".join(lines).encode()
    return client.files.create(file=("a.jsonl", content), purpose="fine-tune").id


def ask(client: OpenAI, training_file: str, **fields) -> dict:
    """Create with the SDK as it is, and return the answer."""
    answer = client.fine_tuning.jobs.create(
        model="retune-nano", training_file=training_file, extra_body={"dry_run": True}, **fields
    )
    return answer.to_dict()


def test_a_good_file(dry) -> None:
    """Examples, tokens, steps and numbers with their reasons; no job is made."""
    client, _ = dry
    told = ask(client, upload(client, *[GOOD] * 12), hyperparameters={"batch_size": 5})
    assert (told["object"], told["would_train"], told["error"]) == (
        "fine_tuning.job.dry_run", True, None
    )  # fmt: skip
    file = told["training"]
    assert (file["n_examples"], file["problems"], file["n_truncated"]) == (12, [], 0)
    assert 0 < file["trained_tokens"] < file["tokens"]
    [length] = file["lengths"]
    assert length["n_examples"] == 12
    assert length["up_to"] / 2 < file["longest_example"] <= length["up_to"]
    numbers = told["hyperparameters"]
    assert (numbers["n_epochs"], numbers["batch_size"]) == (8, 5)
    assert told["reasons"][0] == "8 epochs, because 12 examples are few."
    assert told["n_steps"] == 8 * 3
    assert told["trained_tokens"] == 8 * file["tokens"]
    assert "id" not in told
    assert client.fine_tuning.jobs.list().data == []


def test_every_number_is_shown(dry) -> None:
    """Also what nobody asked for; what is held out is not trained on."""
    client, _ = dry
    wishes = {"batch_size": 1, "n_epochs": 1, "lora_rank": 2, "validation_split": 0.25}
    told = ask(client, upload(client, *[GOOD] * 12), hyperparameters=wishes)
    numbers = told["hyperparameters"]
    assert (numbers["lora_rank"], numbers["lora_alpha"], numbers["validation_split"]) == (
        2,
        4,
        0.25,
    )
    assert (numbers["lr_scheduler_type"], numbers["max_grad_norm"]) == ("linear", 1.0)
    assert told["n_steps"] == 9
    assert told["trained_tokens"] == round(told["training"]["tokens"] * 9 / 12)
    assert told["reasons"][-1].startswith(
        "LoRA of rank 2 and alpha 4 on every linear layer: 40,704"
    )
    assert told["warnings"] == []


def test_findings_by_line(dry) -> None:
    """Each bad line is named, cut examples are warned of, and the job's error is told before there is one."""
    client, _ = dry
    bad = ask(client, upload(client, *[GOOD] * 10, "{}", "nonsense"))
    assert not bad["would_train"]
    assert bad["error"]["param"] == "training_file"
    assert [problem["line"] for problem in bad["training"]["problems"]] == [11, 12]
    assert (bad["n_steps"], bad["seconds"]["value"]) == (None, None)
    cut = ask(client, upload(client, *[GOOD] * 10, LONG))
    assert cut["training"]["n_truncated"] == 1
    assert any("cut at the end" in warning for warning in cut["training"]["warnings"])


def test_a_bad_validation_file(dry) -> None:
    """It is looked at too."""
    client, _ = dry
    good, bad = upload(client, *[GOOD] * 10), upload(client, "{}")
    told = ask(client, good, validation_file=bad)
    assert told["error"]["code"] == "invalid_validation_file"
    assert told["validation"]["id"] == bad


def test_estimates_are_measured(dry) -> None:
    """Until a job has told of its speed and memory, one is unknown and one computed; then from the last ones."""
    client, settings = dry
    file = upload(client, *[GOOD] * 12)
    before = ask(client, file)
    assert before["seconds"]["value"] is None
    assert before["seconds"]["basis"].startswith("Not known: no job has been trained")
    assert before["memory_bytes"]["basis"].startswith("Estimated from the shape of retune-nano")
    assert 5e8 < before["memory_bytes"]["value"] < 1e9
    asyncio.run(_train(settings, tokens_per_second=100.0))
    after = ask(client, file)
    assert after["seconds"]["value"] == round(after["trained_tokens"] / 100, 1)
    assert after["memory_bytes"]["value"] == 2**30
    assert after["seconds"]["basis"] == (
        "100 tokens a second, the median of the last job on retune-nano."
    )


async def _train(settings: Settings, *, tokens_per_second: float) -> None:
    async with open_store(settings.effective_database_url) as store:
        done = events.trained(tokens_per_second=tokens_per_second, peak_memory_bytes=2**30)
        await store.jobs.add(record("proj_other", status="succeeded"), [done])


def test_what_could_not_be_created_is_refused(dry) -> None:
    """As without `dry_run`."""
    client, _ = dry
    with pytest.raises(BadRequestError) as caught:
        ask(client, "file-none")
    assert caught.value.param == "training_file"


def test_a_file_that_takes_too_long_is_refused_at_once(dry) -> None:
    """By its size, with what to do instead."""
    client, settings = dry
    file = upload(client, GOOD)
    asyncio.run(_grow(settings, file))
    with pytest.raises(BadRequestError, match="without 'dry_run'") as caught:
        ask(client, file)
    assert caught.value.code == "file_too_large"


async def _grow(settings: Settings, file_id: str) -> None:
    """Let the record say more bytes than there are."""
    from sqlalchemy import update  # noqa: PLC0415

    from jobs.store.tables import files  # noqa: PLC0415

    async with (
        open_store(settings.effective_database_url) as store,
        store.database.write() as connection,
    ):
        larger = update(files).where(files.c.id == file_id).values(bytes=MAX_BYTES + 1)
        await connection.execute(larger)


def test_a_job_shows_what_the_model_sees(dry):
    """The first examples with the answer marked as learned; a file that was deleted has none to show."""
    client, _ = dry
    file_id = client.files.create(
        file=("a.jsonl", (GOOD + "\n").encode() * 12), purpose="fine-tune"
    ).id
    job = client.fine_tuning.jobs.create(model="retune-nano", training_file=file_id)
    path = f"/fine_tuning/jobs/{job.id}/examples"
    seen = client.get(path, cast_to=dict)
    assert (seen["training_file"], seen["model"]) == (file_id, "retune-nano")
    assert [example["example"] for example in seen["data"]] == [1, 2, 3]
    read, learned = seen["data"][0]["stretches"]
    assert (read["is_trained"], learned["is_trained"]) == (False, True)
    assert learned["text"].startswith("b")
    client.fine_tuning.jobs.cancel(job.id)
    client.files.delete(file_id)
    with pytest.raises(NotFoundError):
        client.get(path, cast_to=dict)
