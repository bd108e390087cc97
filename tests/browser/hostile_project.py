"""A project that has the texts of `hostile_texts` in every field. Import it only once the SQLite is chosen."""

import asyncio
import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import httpx

from jobs.blobs import Blobs
from jobs.store.jobs import NewEvent, Outcome
from jobs.store.records import FileRecord, ModelRecord, WorkerRecord
from jobs.store.store import Store, open_store
from schemas.files import File
from schemas.fine_tuning import Checkpoint, Event, Integration, JobError, WandbIntegration
from schemas.ids import new_id
from schemas.report import Case, JobReport, LeftOut, Report
from schemas.usage import Used, UsedBy
from tests.api_server import Server
from tests.browser.hostile_texts import PROJECT, TEXTS, Hostile
from tests.sample_reports import add_report, report, said
from tests.samples import record

_EXAMPLE: Final = {
    "messages": [
        {"role": "system", "content": TEXTS["example system"]},
        {"role": "user", "content": TEXTS["example context"]},
        {"role": "assistant", "content": "Go on."},
        {"role": "user", "content": TEXTS["example user"]},
        {"role": "assistant", "content": TEXTS["example answer"]},
    ],
    "tools": [
        {"type": "function", "function": {"name": "tool", "description": TEXTS["example tools"]}}
    ],
}
_PLAIN: Final = json.dumps(
    {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
)
_UNTRAINABLE: Final = "\n".join(
    (
        json.dumps(
            {
                "messages": [
                    {"role": TEXTS["role"], "content": TEXTS["message"]},
                    {
                        "role": "assistant",
                        "tool_calls": [{"function": {"name": TEXTS["tool calls"]}}],
                    },
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "A lone \ud800 surrogate"}],
                    },
                ]
            }
        ),
        TEXTS["line"],
    )
)


def store_everywhere(server: Server) -> Hostile:
    """Write each of `TEXTS` where it belongs."""
    training_file = _upload(server, "\n".join([json.dumps(_EXAMPLE), *[_PLAIN] * 19]))
    return asyncio.run(_store_everywhere(server, training_file))


async def _store_everywhere(server: Server, training_file: str) -> Hostile:
    async with open_store(server.settings.effective_database_url) as store:
        file = await _add_file(store, server.settings.data_dir)
        used = {"training_file": training_file, "result_files": [file]}
        job = await _add_failed(store, used)
        tuned_job = await _add_tuned(store, used)
        await store.machines.report_engine("lost", "failed", now=1, message=TEXTS["engine message"])
        now = time.time()
        worker = WorkerRecord(id="worker-hostile", host=TEXTS["worker"], pid=1, seen_at=now + 3600)
        await store.machines.beat(worker)
        await store.usage.add(_usage(int(now) // 60 * 60))
    async with httpx.AsyncClient(
        base_url=f"{server.url}/v1/organization/", headers=_bearer(server.admin_key)
    ) as admin:
        project = await _make(admin, "projects", {"name": TEXTS["project name"]})
        name = {"name": TEXTS["account name"]}
        await _make(admin, f"projects/{project}/service_accounts", name)
        key = await _make(
            admin, f"projects/{PROJECT}/api_keys", {"name": TEXTS["key name"], "scopes": []}
        )
    reported = await asyncio.to_thread(add_report, server, _report(), file_id=training_file)
    return Hostile(training_file, file, job, tuned_job, reported, key, project)


async def _add_file(store: Store, data_dir: Path) -> str:
    """Add a file under a name that no upload could have."""
    content = _UNTRAINABLE.encode()
    file = File(
        id=new_id("file-"),
        bytes=len(content),
        created_at=int(time.time()),
        filename=TEXTS["file name"],
        purpose="fine-tune",
    )
    await asyncio.to_thread(Blobs(data_dir).file_path(file.id).write_bytes, content)
    digest = hashlib.sha256(content).hexdigest()
    await store.files.add(file, FileRecord(project_id=PROJECT, sha256=digest))
    return file.id


async def _add_failed(store: Store, used: Mapping[str, object]) -> str:
    """Add a job that says something of everybody's, in each of its fields."""
    error = {name: TEXTS[f"error {name}"] for name in ("code", "message", "param")}
    run = WandbIntegration(project=TEXTS["W&B project"], run_id="run")
    made = record(
        project_id=PROJECT,
        status="failed",
        model=TEXTS["base"],
        user_provided_suffix=TEXTS["suffix"],
        metadata={TEXTS["metadata key"]: TEXTS["metadata value"]},
        error=JobError(**error),
        report=JobReport(status="failed", reason=TEXTS["report reason"]),
        integrations=[Integration(wandb=run)],
        **used,
    ).model_copy(update={"base": "nano"})
    await store.jobs.add(made, list(_events()))
    checkpoint = Checkpoint(
        id=new_id("ftckpt_"),
        created_at=1,
        fine_tuned_model_checkpoint=TEXTS["checkpoint name"],
        fine_tuning_job_id=made.job.id,
        step_number=1,
        metrics={"train_loss": 1.0},
    )
    await store.jobs.change(made.job.id, lambda found: Outcome(record=found, checkpoint=checkpoint))
    return made.job.id


def _events() -> Iterator[NewEvent]:
    """Yield two steps, so that there is a curve, and what was said of them."""
    for step in (1, 2):
        data = {"step": step, "total_steps": 2, "train_loss": 1 / step}
        event = Event(
            id=new_id("ftevent-"),
            created_at=step,
            message=TEXTS["step event"],
            type="metrics",
            data=data,
        )
        yield NewEvent(dedupe_key=f"step-{step}", event=event)
    said_ = Event(id=new_id("ftevent-"), created_at=3, level="error", message=TEXTS["event"])
    yield NewEvent(dedupe_key="said", event=said_)


async def _add_tuned(store: Store, used: Mapping[str, object]) -> str:
    made = record(
        project_id=PROJECT,
        status="succeeded",
        model=TEXTS["base"],
        fine_tuned_model=TEXTS["tuned model"],
        report=JobReport(status="failed", reason=TEXTS["report reason"]),
        **used,
    ).model_copy(update={"base": "nano"})
    await store.jobs.add(made, [])
    model = ModelRecord(
        name=TEXTS["tuned model"],
        project_id=PROJECT,
        organization_id="local",
        base="nano",
        adapter_id=new_id("adapter-"),
        job_id=made.job.id,
        created_at=1,
    )
    await store.jobs.change(made.job.id, lambda found: Outcome(record=found, model=model))
    return made.job.id


def _usage(minute: int) -> Mapping[UsedBy, Used]:
    used = Used(requests=1, input_tokens=1, output_tokens=1)
    by = {"minute": minute, "project_id": PROJECT, "model": TEXTS["usage model"]}
    return {
        UsedBy(kind="completions", api_key_id="key", **by): used,
        UsedBy(kind="fine_tuning", api_key_id="", job_id="ftjob-hostile", **by): used,
    }


def _report() -> Report:
    """Make a report of labels, then let them and all else be texts of the corpus."""
    cases = [
        Case(reference=said(label), base=said("the base answer"), tuned=said("the tuned answer"))
        for label in ("the label", "the reference") * 5
    ]
    left_out = [LeftOut(reason="refused", n=1, detail=TEXTS["left out"])]
    made = report(cases, dict.fromkeys(range(1, 11), "the prompt"), left_out=left_out)
    written = made.model_dump_json()
    for where in ("label", "reference", "base answer", "tuned answer", "prompt"):
        written = written.replace(f'"the {where}"', json.dumps(TEXTS[where]))
    names = {"base_model": TEXTS["report base"], "tuned_model": TEXTS["report tuned"]}
    return Report.model_validate_json(written).model_copy(update=names)


def _bearer(key: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"}


def _upload(server: Server, lines: str) -> str:
    answer = httpx.post(
        f"{server.url}/v1/files",
        headers=_bearer(server.key),
        data={"purpose": "fine-tune"},
        files={"file": ("train.jsonl", lines.encode())},
    )
    file_id: str = answer.raise_for_status().json()["id"]
    return file_id


async def _make(admin: httpx.AsyncClient, path: str, body: Mapping[str, object]) -> str:
    """Make something of an organization's, and return its id."""
    answer = await admin.post(path, json=body)
    made: str = answer.raise_for_status().json()["id"]
    return made
