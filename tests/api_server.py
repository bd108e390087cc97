"""The application as it is served: uvicorn, SQLite, Redis and the blob store are real, the engine is ours."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from litestar.types import ASGIApp

from api.app import create_app
from api.cli.serve import server_config
from jobs.askable import AskableModels
from jobs.bases.catalog import Catalog
from jobs.blobs import Blobs
from jobs.engines import open_engines
from jobs.keys import create_admin_key, create_key, open_key_ring
from jobs.limits.limiter import open_limiter
from jobs.metering import open_meter
from jobs.queue import open_queue
from jobs.services import Services
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.records import ModelRecord
from jobs.store.store import Store, open_store
from jobs.webhooks.sender import open_sender
from schemas.bases import BaseModelInfo
from schemas.fine_tuning import JobStatus
from schemas.ids import new_id, new_model_id
from schemas.settings import Settings
from tests.fake_engine import FakeEngine, running_fake_engine
from tests.polling import eventually
from tests.samples import record
from tests.servers import private_directory

PROJECT = "proj_default"


@dataclass
class Server:
    """A running server, and what stands behind it."""

    url: str
    key: str
    admin_key: str
    settings: Settings
    engine: FakeEngine

    @property
    def incoming(self) -> list[Path]:
        """Uploads that are half done."""
        return list((self.settings.data_dir / "blobs" / "incoming").iterdir())

    def add_tuned_model(self, *, base: str = "nano", suffix: str = "") -> str:
        """Publish a tuned model, as a worker does at the end of a job."""
        name = f"ft:{base}:local:{suffix}:{new_model_id()}"
        asyncio.run(self._publish(name, base))
        return name

    def add_job(self, *, status: JobStatus, **fields: object) -> str:
        """Leave a job as a worker would have."""
        return asyncio.run(self._add_job(status, fields))

    def fail_engine(self, base: str, message: str) -> None:
        """Report that an engine does not start, as its keeper does."""
        asyncio.run(self._report(base, message))

    async def _add_job(self, status: JobStatus, fields: Mapping[str, object]) -> str:
        async with open_store(self.settings.effective_database_url) as store:
            made = record(project_id=PROJECT, status=status, **fields)
            made = made.model_copy(update={"base": "nano"})
            await store.jobs.add(made, [])
            return made.job.id

    async def _report(self, base: str, message: str) -> None:
        async with open_store(self.settings.effective_database_url) as store:
            await store.machines.report_engine(base, "failed", now=1.0, message=message)

    async def _publish(self, name: str, base: str) -> None:
        async with open_store(self.settings.effective_database_url) as store:
            await publish(store, name, base=base, adapter_id=new_id("adapter-"))


async def publish(store: Store, name: str, *, base: str, adapter_id: str) -> None:
    """Let a tuned model answer to a name, as a worker does at the end of a job."""
    done = record(project_id=PROJECT)
    await store.jobs.add(done, [])
    model = ModelRecord(
        name=name,
        project_id=PROJECT,
        organization_id="local",
        base=base,
        adapter_id=adapter_id,
        job_id=done.job.id,
        created_at=1,
    )
    await store.jobs.change(done.job.id, lambda found: Outcome(record=found, model=model))


def catalog(engine: FakeEngine, *, directory: Path = Path("/nowhere")) -> Catalog:
    """Two bases on one engine, one with a slash in its name, one that embeds, and one without an engine.

    Their files lie in `directory`; hardly a test reads them.
    """
    bases = [
        BaseModelInfo(
            name=name,
            directory=directory,
            context_length=512,
            hidden_size=64,
            model_type="llama",
            n_parameters=1,
            digest="d",
            created=1,
            engine_url=engine_url,
            task=task,
        )
        for name, engine_url, task in (
            ("nano", engine.url, "generate"),
            ("meta/Nano-2", engine.url, "generate"),
            ("lost", None, "generate"),
            ("vectors", engine.url, "embed"),
        )
    ]
    return Catalog(bases, aliases={"gpt-4o-mini": "nano"})


def opener(
    engine: FakeEngine, *, offered: Catalog | None = None
) -> Callable[[Settings], AbstractAsyncContextManager[Services]]:
    """As `jobs.services.open_services`, with a catalogue of ours."""
    offered = offered or catalog(engine)

    @asynccontextmanager
    async def open_services(settings: Settings) -> AsyncGenerator[Services]:
        blobs = Blobs(settings.data_dir)
        blobs.prepare()
        async with (
            open_store(settings.effective_database_url) as store,
            open_queue(settings.effective_redis_url) as queue,
            open_engines(settings, offered, store.machines) as engines,
            open_key_ring(store) as keys,
            open_sender(settings.webhook_networks) as webhooks,
            open_limiter(store.limits, settings) as limiter,
            open_meter(store.usage) as meter,
        ):
            yield Services(
                settings=settings,
                store=store,
                blobs=blobs,
                queue=queue,
                catalog=offered,
                engines=engines,
                keys=keys,
                webhooks=webhooks,
                limiter=limiter,
                meter=meter,
                askable=AskableModels(store.models),
            )

    return open_services


@contextmanager
def running_server(
    redis_url: str, *, base_files: Path = Path("/nowhere"), **more: object
) -> Iterator[Server]:
    """Serve on a data directory of its own, with some settings of the test's.

    Args:
        redis_url: Of a server that may be shared.
        base_files: What lies in the directory of every base.
        **more: Settings.
    """
    with (
        private_directory("retune-api-") as directory,
        running_fake_engine(directory / "engine.sock") as engine,
    ):
        settings = Settings(
            data_dir=directory / "data",
            bases_dir=directory / "bases",
            redis_url=redis_url,
            webhook_allow_private="127.0.0.0/8",
        ).model_copy(update=more)
        migrate(settings.effective_database_url)
        key, admin_key = asyncio.run(_first_keys(settings))
        offered = catalog(engine, directory=base_files)
        application = create_app(settings, open_services=opener(engine, offered=offered))
        with serving(application, settings) as url:
            yield Server(url, key, admin_key, settings, engine)


@contextmanager
def serving(application: ASGIApp, settings: Settings) -> Iterator[str]:
    """Serve on a port of the system's choice, in a thread, as `retune serve` does."""
    config = server_config(application, settings, host="127.0.0.1", port=0)
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="uvicorn")
    thread.start()
    eventually(lambda: server.started or not thread.is_alive())
    try:
        assert server.started, "the server did not start"
        host, port = server.servers[0].sockets[0].getsockname()
        yield f"http://{host}:{port}"
    finally:
        server.should_exit = True
        thread.join()


async def _first_keys(settings: Settings) -> tuple[str, str]:
    async with open_store(settings.effective_database_url) as store:
        key, _ = await create_key(store, name="tests", organization_id="local")
        admin_key, _ = await create_admin_key(store, name="tests", organization_id="local")
    return key, admin_key
