"""What the SDK's tests take for granted, put back before each of their requests."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

from litestar.types import ASGIApp, Receive, Scope, Send
from sqlalchemy import delete, func, insert, select, update

from api.app import create_app
from jobs import inference
from jobs.bases.catalog import Catalog
from jobs.blobs import Blobs, StoredBlob
from jobs.keys import Caller, create_key
from jobs.responses import operations
from jobs.services import Services
from jobs.store.jobs import NewEvent, Outcome
from jobs.store.migrate import migrate
from jobs.store.records import FileRecord, ModelRecord, PartRecord, ProjectRecord
from jobs.store.store import open_store
from jobs.store.tables import (
    chat_completions,
    checkpoint_permissions,
    metadata,
    models,
    response_items,
)
from jobs.store.webhooks import EndpointRecord
from jobs.webhooks.signing import new_secret
from schemas.bases import BaseModelInfo
from schemas.chat import AssistantMessage, ChatRequest
from schemas.fine_tuning import Checkpoint, Event, JobStatus
from schemas.response_requests import ResponseRequest
from schemas.settings import Settings
from schemas.webhooks import Endpoint
from tests.api_server import PROJECT, opener, serving
from tests.fake_engine import FakeEngine, running_fake_engine
from tests.receiver import running_receiver
from tests.samples import batch_record, file, record, upload
from tests.servers import private_directory

JOB = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
TUNED = "ft:gpt-4o-mini:acemeco:suffix:abc123"
ALIASES = ("gpt-4o-mini", "gpt-6-astra", "gpt-3.5-turbo-instruct")
KEPT = {"api_keys", "api_key_secrets", "projects", "engines", "workers"}
CONTENT = b'{"messages": []}\n'
UPLOAD = "upload_abc123"
SHARED = "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd"
PERMISSION = "cp_zc4Q7MP6XxulcVzj4MZdwsAB"
ENDPOINT = "whe_123"
RESPONSES = (
    "resp_677efb5139a88190b512bc3fef8e535d",
    "resp_123",
    "response_id",
    "previous_response_id",
    "comparison_response_id",
)


class AnyDigest(Blobs):
    """Takes the suite's `md5="md5"` for the right one."""

    @asynccontextmanager
    async def joined(
        self, upload_id: str, part_ids: Sequence[str], *, with_md5: bool
    ) -> AsyncGenerator[StoredBlob]:
        async with super().joined(upload_id, part_ids, with_md5=with_md5) as blob:
            yield blob.model_copy(update={"md5": "md5"})


class Seeded:
    """Puts the ids back before a request reaches the application."""

    def __init__(self, app: ASGIApp, webhook_url: str) -> None:
        self.app = app
        self.webhook_url = webhook_url
        self.services: Services | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; the suite sends one at a time."""
        if scope["type"] == "http":
            assert self.services is not None
            await seed(self.services, scope["path"], webhook_url=self.webhook_url)
        await self.app(scope, receive, send)


@contextmanager
def serving_seeded(redis_url: str) -> Iterator[str]:
    """Serve the application for the suite and yield where."""
    with (
        private_directory("retune-sdk-") as directory,
        running_fake_engine(directory / "engine.sock") as engine,
        running_receiver() as receiver,
    ):
        settings = Settings(
            data_dir=directory / "data",
            bases_dir=directory / "bases",
            redis_url=redis_url,
            webhook_allow_private="127.0.0.0/8",
        )
        migrate(settings.effective_database_url)
        asyncio.run(make_keys(settings))
        open_real = opener(engine, offered=catalog(engine))

        @asynccontextmanager
        async def open_services(settings: Settings) -> AsyncGenerator[Services]:
            async with open_real(settings) as opened:
                seeded.services = replace(opened, blobs=AnyDigest(settings.data_dir))
                yield seeded.services

        seeded = Seeded(create_app(settings, open_services=open_services), receiver.url)
        with serving(seeded, settings) as url:
            yield url


def catalog(engine: FakeEngine) -> Catalog:
    """Two bases, one for text and one for vectors, which answer to every name that the suite asks."""
    nano = BaseModelInfo(
        name="nano",
        directory=Path("/nowhere"),
        context_length=512,
        hidden_size=64,
        model_type="llama",
        n_parameters=1,
        digest="d",
        created=1,
        engine_url=engine.url,
    )
    vectors = nano.model_copy(update={"name": "vectors", "task": "embed"})
    aliases = dict.fromkeys(ALIASES, "nano") | {"text-embedding-3-small": "vectors"}
    return Catalog([nano, vectors], aliases=aliases)


async def make_keys(settings: Settings) -> None:
    """Make the suite's two keys."""
    async with open_store(settings.effective_database_url) as store:
        await create_key(store, name="suite", organization_id="local", key="My API Key")


def tuned_model(name: str) -> ModelRecord:
    """A tuned model of the suite's project."""
    return ModelRecord(
        name=name,
        project_id=PROJECT,
        organization_id="local",
        base="nano",
        adapter_id="adapter-seed",
        job_id=JOB,
        created_at=int(time.time()),
    )


async def seed(services: Services, path: str, *, webhook_url: str) -> None:
    """Forget everything but keys, and make what the suite names.

    Args:
        services: Of the application.
        path: Of the request that comes next.
        webhook_url: Where somebody takes webhooks.
    """
    store = services.store
    async with store.database.write() as connection:
        for table in metadata.sorted_tables:
            if table.name not in KEPT:
                await connection.execute(delete(table))
    owner = FileRecord(project_id=PROJECT, sha256="0" * 64)
    for file_id in ("file-abc123", "file_id", "after", "batch"):
        services.blobs.file_path(file_id).write_bytes(CONTENT)
        await store.files.add(file(id=file_id, bytes=len(CONTENT)), owner)
    await _seed_jobs(services, path)
    await _seed_batches(services, owner)
    await _seed_uploads(services)
    await _seed_permissions(services)
    await _seed_webhooks(services, webhook_url)
    await _seed_answers(services)


async def _seed_uploads(services: Services) -> None:
    # One whose only part makes it whole.
    await services.store.uploads.add(upload(PROJECT, id=UPLOAD, bytes=len(CONTENT)))
    part = PartRecord(id="string", upload_id=UPLOAD, bytes=len(CONTENT), created_at=1)
    async with services.blobs.incoming() as incoming:
        await incoming.write(CONTENT)
        await services.blobs.keep_part(await incoming.finish(), UPLOAD, part.id)
    await services.store.uploads.add_part(part, project_id=PROJECT, now=1)


async def _seed_batches(services: Services, owner: FileRecord) -> None:
    # One that can be created, from a file for batches, and one that can be asked for and cancelled.
    await services.store.files.add(file(id="input_file_id", purpose="batch"), owner)
    for batch_id in ("after", "batch_id"):
        await services.store.batches.add(batch_record(PROJECT, id=batch_id))


async def _seed_jobs(services: Services, path: str) -> None:
    status: JobStatus = "paused" if path.endswith("/resume") else "running"
    for job_id in ("after", JOB):
        job = record(PROJECT, id=job_id, status=status)
        # In a worker's hands, as a job that runs is: then a pause is not there at once, and the SDK's
        # own type of a job lacks the status `paused`.
        held = {"owner": "worker", "lease_until": time.time() + 60} if status == "running" else {}
        await services.store.jobs.add(job.model_copy(update=held), [])
    event = Event(id="after", created_at=1, message="seeded")
    seeded = Outcome(
        record=await services.store.jobs.get(JOB),
        events=[NewEvent(dedupe_key="seeded", event=event)],
        checkpoint=Checkpoint(
            id="after",
            created_at=1,
            fine_tuned_model_checkpoint=TUNED,
            fine_tuning_job_id=JOB,
            step_number=1,
            metrics={"step": 1.0},
        ),
    )
    await services.store.jobs.change(JOB, lambda _: seeded)
    model = tuned_model(TUNED)
    async with services.store.database.write() as connection:
        await connection.execute(insert(models).values(**model.model_dump()))


async def _seed_permissions(services: Services) -> None:
    # Checkpoints to share, one that is shared already, and who it is shared with.
    for project_id in ("string", "project_id"):
        project = ProjectRecord(id=project_id, organization_id="local", name="A", created_at=1)
        await services.store.projects.ensure(project)
    async with services.store.database.write() as connection:
        for name in (JOB, SHARED):
            tuned = tuned_model(name)
            await connection.execute(insert(models).values(**tuned.model_dump()))
        for permission_id, model in (("after", JOB), (PERMISSION, SHARED)):
            await connection.execute(
                insert(checkpoint_permissions).values(
                    id=permission_id, model=model, project_id="project_id", created_at=1
                )
            )


async def _seed_webhooks(services: Services, url: str) -> None:
    # One that can be looked up, changed and deleted.
    endpoint = Endpoint(
        id=ENDPOINT,
        created_at=1,
        updated_at=1,
        name="a",
        url=url,
        event_types=["batch.completed"],
        signing_secret_hint="whsec_…",
    )
    record = EndpointRecord(endpoint=endpoint, secret=new_secret())
    await services.store.webhooks.add(record, project_id=PROJECT)


async def _seed_answers(services: Services) -> None:
    # Kept as the application keeps them, under the suite's ids.
    caller = Caller(project_id=PROJECT, organization_id="local", key_id="key_suite")
    # By the assistant: the SDK's type of a kept message knows no other role.
    said = AssistantMessage(role="assistant", content="a")
    chat = ChatRequest(model="nano", messages=[said], store=True)
    async with services.store.database.write() as connection:
        await connection.execute(delete(chat_completions))
    for completion_id in ("after", "completion_id"):
        question = await inference.prepare(services, caller, chat)
        envelope = question.envelope.model_copy(update={"id": completion_id})
        await inference.complete(services, replace(question, envelope=envelope))
    async with services.store.database.write() as connection:
        renamed = func.replace(chat_completions.c.messages, "completion_id-0", "after")
        await connection.execute(update(chat_completions).values(messages=renamed))
    for response_id in RESPONSES:
        turn = await operations.prepare(services, caller, ResponseRequest(model="nano", input="a"))
        response = turn.response.model_copy(update={"id": response_id})
        await operations.complete(services, replace(turn, response=response))
    async with services.store.database.write() as connection:
        mine = response_items.c.response_id == "response_id"
        first = select(func.min(response_items.c.seq)).where(mine).scalar_subquery()
        await connection.execute(
            update(response_items).where(response_items.c.seq == first).values(id="after")
        )
