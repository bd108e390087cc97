"""`/v1/fine_tuning` as OpenAI's SDK sees it: every field of a job, its filters, pauses and checkpoints."""

import asyncio
from importlib.util import find_spec

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from jobs.store.jobs import Outcome
from jobs.store.records import ModelRecord
from jobs.store.store import open_store
from schemas.fine_tuning import Checkpoint
from schemas.ids import new_id, new_model_id
from schemas.report import JobReport
from tests.api_server import PROJECT, Server
from tests.many_jobs import add_jobs
from tests.samples import job_report

JOBS = "/v1/fine_tuning/jobs"
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
GRADER = {"type": "string_check", "name": "n", "input": "i", "reference": "r", "operation": "eq"}
NUMBERS = {"n_epochs": "auto", "batch_size": 256, "learning_rate_multiplier": 0.1}
METHODS = {
    "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 1}},
    "dpo": {"hyperparameters": {"beta": 2, **NUMBERS}},
    "reinforcement": {
        "grader": GRADER,
        "hyperparameters": {
            "compute_multiplier": 10,
            "eval_interval": 1,
            "eval_samples": "auto",
            "reasoning_effort": "default",
            **NUMBERS,
        },
    },
}


@pytest.fixture(scope="module")
def strict(server: Server):
    """The SDK, refusing whatever does not fit its types."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture(scope="module")
def file_id(client: OpenAI) -> str:
    """An uploaded file of twelve examples."""
    return client.files.create(file=("a.jsonl", LINE * 12), purpose="fine-tune").id


def create(client: OpenAI, file_id: str, **fields):
    return client.fine_tuning.jobs.create(model="nano", training_file=file_id, **fields)


def test_every_field_that_was_sent_is_shown(strict: OpenAI, file_id: str) -> None:
    """As it was sent, with `"auto"` for what was not; the sub-objects of other methods change nothing."""
    job = create(
        strict,
        file_id,
        validation_file=file_id,
        hyperparameters={"n_epochs": "auto"},
        method={"type": "supervised", **METHODS},
        suffix="My Suffix",
        seed=2**31 - 1,
        metadata={"team": "a"},
        integrations=[],
    )
    assert job.hyperparameters.to_dict() == {
        "n_epochs": 1, "batch_size": 1, "learning_rate_multiplier": "auto"
    }  # fmt: skip
    assert job.method.supervised.hyperparameters.n_epochs == 1
    assert (job.validation_file, job.seed, job.metadata) == (file_id, 2**31 - 1, {"team": "a"})
    assert job.model_extra["user_provided_suffix"] == "My Suffix"
    assert job.integrations == []


def test_nothing_but_the_required_is_needed(strict: OpenAI, http: httpx.Client, file_id) -> None:
    """Null is as good as absent, and a seed is made up."""
    sent = {
        "model": "nano", "training_file": file_id, "validation_file": None, "hyperparameters": None,
        "method": None, "suffix": None, "seed": None, "integrations": None, "metadata": None,
    }  # fmt: skip
    job = strict.fine_tuning.jobs.retrieve(http.post(JOBS, json=sent).json()["id"])
    assert (job.validation_file, job.metadata, job.integrations) == (None, None, [])
    assert 0 <= job.seed < 2**31


def test_extensions_pass_through_the_sdk(client: OpenAI, strict: OpenAI, file_id: str) -> None:
    """The SDK sends keys that it does not know; the job shows those that were asked for, and no other."""
    wishes = {
        "n_epochs": 2,
        "lora_rank": 8,
        "lora_target_modules": "all-linear",
        "lr_scheduler_type": "cosine",
        "use_rslora": False,
        "early_stopping": {"patience": 2},
        "validation_split": 0.1,
    }
    method = {"type": "supervised", "supervised": {"hyperparameters": wishes}}
    made = create(client, file_id, method=method)
    job = strict.fine_tuning.jobs.retrieve(made.id)
    shown = job.method.supervised.hyperparameters.to_dict()
    stopping = {"patience": 2, "min_gain": 0.0, "metric": "full_valid_loss"}
    assert shown == wishes | {
        "batch_size": "auto", "learning_rate_multiplier": "auto", "early_stopping": stopping,
    }  # fmt: skip
    assert job.hyperparameters.to_dict() == shown


def test_without_extensions_a_job_is_as_at_openai(http: httpx.Client, file_id: str) -> None:
    """Three keys, not one more."""
    job = http.post(JOBS, json={"model": "nano", "training_file": file_id}).json()
    three = dict.fromkeys(("n_epochs", "batch_size", "learning_rate_multiplier"), "auto")
    assert job["hyperparameters"] == three
    assert job["method"] == {"type": "supervised", "supervised": {"hyperparameters": three}}


@pytest.mark.parametrize(
    ("wishes", "code", "param"),
    [
        ({"lora_rank": 65}, "integer_above_max_value", "lora_rank"),
        ({"lora_dropout": 1}, "decimal_above_max_value", "lora_dropout"),
        ({"early_stopping": {}}, "invalid_parameter_combination", "early_stopping"),
    ],
)
def test_an_extension_that_cannot_be_had(client: OpenAI, file_id: str, wishes, code, param) -> None:
    """Is refused at creation, by its name."""
    method = {"type": "supervised", "supervised": {"hyperparameters": wishes}}
    with pytest.raises(BadRequestError) as caught:
        create(client, file_id, method=method)
    where = f"method.supervised.hyperparameters.{param}"
    assert (caught.value.code, caught.value.param) == (code, where)


def test_a_report_is_shown_beside_openais_fields(server: Server, strict: OpenAI) -> None:
    """A strict client takes the job, and finds the report among what it does not know."""
    shown = job_report()
    job_id = server.add_job(
        status="succeeded", report=shown, result_files=["file-csv", "file-report"]
    )
    job = strict.fine_tuning.jobs.retrieve(job_id)
    assert (job.status, job.result_files) == ("succeeded", ["file-csv", "file-report"])
    assert JobReport.model_validate(job.model_extra["report"]) == shown


def test_a_job_without_a_report_is_openais(server: Server, http: httpx.Client) -> None:
    """Before its end, and for jobs of a time before reports, there is no such field."""
    for status in ("running", "succeeded", "failed"):
        assert "report" not in http.get(f"{JOBS}/{server.add_job(status=status)}").json()


@pytest.mark.parametrize("type_", ["dpo", "reinforcement"])
def test_a_method_that_we_do_not_train_is_refused(client: OpenAI, file_id: str, type_) -> None:
    """By its type, never accepted and ignored."""
    with pytest.raises(BadRequestError) as caught:
        create(client, file_id, method={"type": type_, **METHODS})
    assert (caught.value.code, caught.value.param) == ("unsupported_value", "method.type")


@pytest.mark.parametrize(
    ("method", "code", "param"),
    [
        ({"dpo": {"hyperparameters": {"beta": 0}}}, "decimal_below_min_value", "dpo.hyperparameters.beta"),
        ({"dpo": {"hyperparameters": {"beta": 2.1}}}, "decimal_above_max_value", "dpo.hyperparameters.beta"),
        ({"dpo": {"grader": {}}}, "unknown_parameter", "dpo.grader"),
        ({"supervised": {"hyperparameters": {"beta": 1}}}, "unknown_parameter", "supervised.hyperparameters.beta"),
        ({"reinforcement": {}}, "missing_required_parameter", "reinforcement.grader"),
        ({"reinforcement": {"grader": {"type": "magic"}}}, "invalid_value", "reinforcement.grader.type"),
        (
            {"reinforcement": {"grader": GRADER, "hyperparameters": {"compute_multiplier": 0.00001}}},
            "decimal_below_min_value",
            "reinforcement.hyperparameters.compute_multiplier",
        ),
        (
            {"reinforcement": {"grader": GRADER, "hyperparameters": {"eval_samples": 0}}},
            "integer_below_min_value",
            "reinforcement.hyperparameters.eval_samples",
        ),
        (
            {"reinforcement": {"grader": GRADER, "hyperparameters": {"reasoning_effort": "max"}}},
            "invalid_value",
            "reinforcement.hyperparameters.reasoning_effort",
        ),
    ],
)  # fmt: skip
def test_sub_objects_of_every_method_are_checked(http, file_id, method, code, param) -> None:
    """With OpenAI's types and bounds, also where another method is asked for."""
    body = {"model": "nano", "training_file": file_id, "method": {"type": "supervised", **method}}
    response = http.post(JOBS, json=body)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, f"method.{param}")


def test_jobs_are_found_by_metadata(client: OpenAI, http: httpx.Client, file_id: str) -> None:
    """By pairs, all of them, an empty text too; and by having none, in each form that an SDK can send."""
    plain = create(client, file_id).id
    tagged = create(client, file_id, metadata={"a b": "x&y", "empty": ""}).id

    def found(query: str) -> set[str]:
        return {job["id"] for job in http.get(f"{JOBS}?{query}").json()["data"]}

    listed = client.fine_tuning.jobs.list(metadata={"a b": "x&y", "empty": ""})
    assert {job.id for job in listed.data} == {tagged}
    assert found("metadata[empty]=") == {tagged}
    assert found("metadata[a+b]=other") == set()
    for none in ("metadata=null", "metadata="):
        assert plain in found(none)
        assert tagged not in found(none)
    # openai-python leaves the parameter out where it is None: no filter.
    assert {plain, tagged} <= {job.id for job in client.fine_tuning.jobs.list(metadata=None)}


def test_pause_and_resume(strict: OpenAI, server: Server) -> None:
    """A job that waits is paused at once and goes on under its own id; its log tells of both."""
    job = server.add_job(status="queued")
    paused = strict.fine_tuning.jobs.with_raw_response.pause(job)
    assert paused.http_response.json()["status"] == "paused"
    resumed = strict.fine_tuning.jobs.resume(job)
    assert (resumed.id, resumed.status) == (job, "queued")
    messages = [event.message for event in strict.fine_tuning.jobs.list_events(job)]
    assert messages == ["Fine-tuning job resumed", "Fine-tuning job paused"]


@pytest.mark.parametrize("action", ["pause", "resume", "cancel"])
def test_a_job_that_is_over_stays_over(client: OpenAI, file_id: str, action: str) -> None:
    """What a job's status does not allow is 400, in words that name the status."""
    job = create(client, file_id)
    client.fine_tuning.jobs.cancel(job.id)
    act = getattr(client.fine_tuning.jobs, action)
    with pytest.raises(BadRequestError) as caught:
        act(job.id)
    assert caught.value.code is None
    message = f"Cannot {action} a fine-tuning job with status 'cancelled'."
    assert caught.value.body["message"] == message


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_an_unknown_job(client: OpenAI, action: str) -> None:
    """It is not found, by the words that every call has for it."""
    with pytest.raises(NotFoundError) as caught:
        getattr(client.fine_tuning.jobs, action)("ftjob-none")
    assert (caught.value.code, caught.value.param) == ("fine_tune_not_found", "fine_tune_id")


def test_a_checkpoint_answers_while_its_job_runs(client: OpenAI, server: Server) -> None:
    """By its `:ckpt-step-N` name, as soon as it is listed; and it can be tuned further."""
    job_id = server.add_job(status="running")
    name = f"ft:nano:local::{new_model_id()}:ckpt-step-10"
    asyncio.run(add_checkpoint(server, job_id, name))
    assert client.fine_tuning.jobs.retrieve(job_id).status == "running"
    (listed,) = client.fine_tuning.jobs.checkpoints.list(job_id).data
    assert listed.fine_tuned_model_checkpoint == name
    hello = [{"role": "user", "content": "hello"}]
    answer = client.chat.completions.create(model=name, messages=hello)
    assert answer.model == name
    assert client.models.retrieve(name).id == name


def test_an_integration_needs_what_it_runs_on(http: httpx.Client, file_id: str) -> None:
    """With the package the job shows it as OpenAI does; without, the refusal says what to install."""
    wandb = {"project": "p", "tags": ["a"]}
    body = {
        "model": "nano", "training_file": file_id,
        "integrations": [{"type": "wandb", "wandb": wandb}],
    }  # fmt: skip
    response = http.post(JOBS, json=body)
    if find_spec("wandb") is None:
        error = response.json()["error"]
        assert (error["code"], error["param"]) == ("unsupported_value", "integrations")
        assert "retune[wandb]" in error["message"]
        return
    job = response.json()
    assert job["integrations"] == [
        {"type": "wandb", "wandb": wandb | {"name": None, "entity": None, "run_id": job["id"]}}
    ]


@pytest.mark.parametrize(
    ("integration", "code", "param"),
    [
        ({}, "missing_required_parameter", "type"),
        ({"type": "mlflow", "wandb": {"project": "p"}}, "invalid_value", "type"),
        ({"type": "wandb"}, "missing_required_parameter", "wandb"),
        ({"type": "wandb", "wandb": {}}, "missing_required_parameter", "wandb.project"),
        ({"type": "wandb", "wandb": {"project": "p", "api_key": "k"}}, "unknown_parameter", "wandb.api_key"),
        ({"type": "wandb", "wandb": {"project": "p", "tags": "a"}}, "invalid_type", "wandb.tags"),
        ({"type": "wandb", "wandb": {"project": "p" * 129}}, "string_above_max_length", "wandb.project"),
    ],
)  # fmt: skip
def test_an_integration_that_is_none(http, file_id, integration, code, param) -> None:
    """It is refused by its field, package or not."""
    body = {"model": "nano", "training_file": file_id, "integrations": [integration]}
    error = http.post(JOBS, json=body).json()["error"]
    assert (error["code"], error["param"]) == (code, f"integrations[0].{param}")


async def add_checkpoint(server: Server, job_id: str, name: str) -> None:
    """Publish one, as a worker does at the end of an epoch."""
    checkpoint = Checkpoint(
        id=new_id("ftckpt_"),
        created_at=1,
        fine_tuned_model_checkpoint=name,
        fine_tuning_job_id=job_id,
        step_number=10,
        metrics={"step": 10.0, "train_loss": 0.5},
    )
    model = ModelRecord(
        name=name,
        project_id=PROJECT,
        organization_id="local",
        base="nano",
        adapter_id=new_id("adapter-"),
        job_id=job_id,
        created_at=1,
    )
    async with open_store(server.settings.effective_database_url) as store:
        await store.jobs.change(
            job_id, lambda found: Outcome(record=found, checkpoint=checkpoint, model=model)
        )


def test_model_limits(http: httpx.Client, server: Server) -> None:
    """Each base that can be tuned, with the project's active jobs; paused ones and ended ones are not active."""
    path = "/v1/fine_tuning/model_limits"
    before = http.get(path).json()["nano"]
    for status in ("running", "queued", "paused", "succeeded"):
        server.add_job(status=status)
    after = http.get(path).json()["nano"]
    assert after == before | {"active_jobs": before["active_jobs"] + 2}
    assert after["max_total_jobs"] == after["max_concurrent_jobs"] == 2**31 - 1


def test_a_list_can_be_narrowed_down_and_counted(server: Server, client: OpenAI):
    """`status`, `search`, `base` and `with_counts` are ours; a list without them is OpenAI's."""

    async def add() -> list[str]:
        async with open_store(server.settings.effective_database_url) as store:
            return await add_jobs(store, count=10, steps=0, project_id=PROJECT, suffix="narrow")

    ids = asyncio.run(add())
    asked = {"search": "NARROW", "status": ["failed", "queued"], "base": "nano"}
    found = client.fine_tuning.jobs.list(extra_query=asked)
    assert [job.id for job in found.data] == [ids[place] for place in (8, 7, 3, 2)]
    asked = {"search": "narrow", "status": "failed", "with_counts": "true"}
    counted = client.fine_tuning.jobs.list(limit=1, extra_query=asked).to_dict()
    assert counted["has_more"]
    assert counted["counts"] == dict.fromkeys(
        ("succeeded", "running", "failed", "queued", "cancelled"), 2
    )
    assert "counts" not in client.fine_tuning.jobs.list(limit=1).to_dict()
    with pytest.raises(BadRequestError) as caught:
        client.fine_tuning.jobs.list(extra_query={"status": "done"})
    assert caught.value.param == "status[0]"


def test_a_list_can_be_narrowed_down_to_a_file(server: Server, client: OpenAI):
    """`file` is ours: the jobs that train on, validate with or made one of some files."""
    trains = server.add_job(status="queued", training_file="file-used")
    validates = server.add_job(status="queued", validation_file="file-used")
    made = server.add_job(status="succeeded", result_files=["file-x", "file-made"])
    for files, ids in [
        ("file-used", [validates, trains]),
        (["file-made", "file-used"], [made, validates, trains]),
        ("file-use", []),
    ]:
        found = client.fine_tuning.jobs.list(extra_query={"file": files})
        assert [job.id for job in found.data] == ids


def test_a_job_says_its_place_in_the_queue(server: Server, client: OpenAI):
    """Where it was asked for, and only while the job is queued."""
    first, second = (server.add_job(status="queued") for _ in range(2))

    def place(job_id: str) -> int:
        asked = {"with_queue_position": "true"}
        return client.fine_tuning.jobs.retrieve(job_id, extra_query=asked).to_dict()[
            "queue_position"
        ]

    assert place(second) == place(first) + 1
    assert "queue_position" not in client.fine_tuning.jobs.retrieve(second).to_dict()


def test_a_job_gives_its_curves(server: Server, client: OpenAI):
    """Everything that was measured, thinned out to what was asked for; another's job has none."""

    async def add() -> list[str]:
        async with open_store(server.settings.effective_database_url) as store:
            return await add_jobs(store, count=1, steps=500, project_id=PROJECT)

    (job_id,) = asyncio.run(add())
    metrics = client.get(f"/fine_tuning/jobs/{job_id}/metrics?points=50", cast_to=dict)
    assert (metrics["n_steps"], metrics["total_steps"]) == (500, 500)
    for curve in metrics["curves"].values():
        assert len(curve["steps"]) == len(curve["values"]) <= 50
        assert curve["steps"] == sorted(curve["steps"])
    assert metrics["curves"]["tokens_per_second"]["values"][0] == 3600
    assert metrics["curves"]["full_valid_loss"]["steps"] == [500]
    with pytest.raises(NotFoundError):
        client.get("/fine_tuning/jobs/ftjob-nowhere/metrics", cast_to=dict)


def test_events_can_be_narrowed_down(server: Server, client: OpenAI):
    """`type` and `level` are ours: what a job says, without a line for each step of thousands."""

    async def add() -> list[str]:
        async with open_store(server.settings.effective_database_url) as store:
            return await add_jobs(store, count=1, steps=30, project_id=PROJECT)

    (job_id,) = asyncio.run(add())

    def messages(**asked: object) -> list[str]:
        listed = client.fine_tuning.jobs.list_events(job_id, limit=50, extra_query=asked)
        return [event.message for event in listed.data]

    assert messages(type="message") == [f"Created fine-tuning job: {job_id}"]
    assert len(messages(type="metrics")) == 30
    assert len(messages(level="info")) == 31
    assert messages(level=["warn", "error"]) == []
