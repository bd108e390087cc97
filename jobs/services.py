"""What a process of ours is made of: opened in one place, handed down, closed in order."""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from jobs.askable import AskableModels
from jobs.bases.catalog import Catalog, load_catalog
from jobs.blobs import Blobs
from jobs.engines import Engines, open_engines
from jobs.graders.children import Children
from jobs.keys import KeyRing, open_key_ring
from jobs.limits.limiter import Limiter, open_limiter
from jobs.metering import Meter, open_meter
from jobs.queue import Queue, open_queue
from jobs.store.store import Store, open_store
from jobs.webhooks.sender import Sender, open_sender
from schemas.base import Schema
from schemas.settings import Settings

WORKER_IS_ALIVE_FOR: Final = 20.0
"""Seconds after its last sign of life."""
_MAX_SCORES_BYTES: Final = 4 * 2**20
"""Of a report's thousand examples: seven measures each, and a table of fifty labels."""


@dataclass(frozen=True, slots=True)
class Services:
    """The long-lived objects of a process, open."""

    settings: Settings
    store: Store
    blobs: Blobs
    queue: Queue
    catalog: Catalog
    engines: Engines
    keys: KeyRing
    grader_children: Children = field(default_factory=Children, kw_only=True)
    dry_run_children: Children = field(default_factory=Children, kw_only=True)
    report_children: Children = field(
        default_factory=partial(Children, max_answer_bytes=_MAX_SCORES_BYTES), kw_only=True
    )
    webhooks: Sender
    limiter: Limiter
    meter: Meter
    askable: AskableModels


class Readiness(Schema):
    """Whether a job could run and a model could answer."""

    ok: bool
    checks: dict[str, str]
    """What was looked at: `ok`, or what is wrong and what to do."""


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncGenerator[Services]:
    """Connect to everything, and let go of it all at the end. The tables are there already."""
    catalog = load_catalog(settings)
    blobs = Blobs(settings.data_dir)
    blobs.prepare()
    async with (
        open_store(settings.effective_database_url) as store,
        open_queue(settings.effective_redis_url) as queue,
        open_engines(settings, catalog, store.machines) as engines,
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
            catalog=catalog,
            engines=engines,
            keys=keys,
            webhooks=webhooks,
            limiter=limiter,
            meter=meter,
            askable=AskableModels(store.models),
        )


async def readiness(services: Services) -> Readiness:
    """Look at the database, the queue, the workers and the bases; a running engine is not needed."""
    checks = {
        "database": await _database(services),
        "queue": await _queue(services),
        "worker": await _worker(services),
        "base_models": "ok"
        if services.catalog.all()
        else "no base model is prepared: `make setup`",
    }
    return Readiness(ok=all(found == "ok" for found in checks.values()), checks=checks)


async def _database(services: Services) -> str:
    try:
        await services.store.ping()
    except Exception as exc:  # noqa: BLE001 - a probe reports whatever is wrong
        return f"does not answer ({type(exc).__name__})"
    return "ok"


async def _queue(services: Services) -> str:
    try:
        await services.queue.ping()
    except Exception as exc:  # noqa: BLE001 - a probe reports whatever is wrong
        return f"Redis does not answer ({type(exc).__name__})"
    return "ok"


async def _worker(services: Services) -> str:
    try:
        alive = await services.store.machines.workers(seen_after=time.time() - WORKER_IS_ALIVE_FOR)
    except Exception as exc:  # noqa: BLE001 - a probe reports whatever is wrong
        return f"unknown ({type(exc).__name__})"
    return "ok" if alive else "none is alive: start one with `retune serve --only worker`"
