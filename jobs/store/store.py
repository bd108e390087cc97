"""The store as the rest of the house sees it: one open database, cut by what is recorded."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import text

from jobs.store.batches import BatchRecords
from jobs.store.chat_completions import ChatCompletionRecords
from jobs.store.curves import CurveRecords
from jobs.store.database import Database, open_database
from jobs.store.files import FileRecords
from jobs.store.idempotency import IdempotencyRecords
from jobs.store.job_changes import JobChanges
from jobs.store.jobs import JobRecords
from jobs.store.keys import KeyRecords
from jobs.store.limits import LimitRecords
from jobs.store.machines import MachineRecords
from jobs.store.models import ModelRecords
from jobs.store.outbox import Outbox
from jobs.store.permissions import PermissionRecords
from jobs.store.projects import ProjectRecords
from jobs.store.responses import ResponseRecords
from jobs.store.sessions import SessionRecords
from jobs.store.uploads import UploadRecords
from jobs.store.usage import UsageRecords
from jobs.store.webhooks import WebhookRecords


@dataclass(frozen=True, slots=True)
class Store:
    """All records."""

    database: Database
    files: FileRecords
    uploads: UploadRecords
    idempotency: IdempotencyRecords
    jobs: JobRecords
    batches: BatchRecords
    chat_completions: ChatCompletionRecords
    models: ModelRecords
    responses: ResponseRecords
    keys: KeyRecords
    sessions: SessionRecords
    projects: ProjectRecords
    limits: LimitRecords
    permissions: PermissionRecords
    machines: MachineRecords
    webhooks: WebhookRecords
    outbox: Outbox
    usage: UsageRecords
    curves: CurveRecords
    job_changes: JobChanges

    async def ping(self) -> None:
        """Raise whatever keeps the database from answering."""
        async with self.database.read() as connection:
            await connection.execute(text("SELECT 1 FROM projects WHERE 1 = 0"))


@asynccontextmanager
async def open_store(url: str) -> AsyncGenerator[Store]:
    """Open the records at `url`; its tables are there already (`jobs.store.migrate`).

    Raises:
        DatabaseUnusable: See `jobs.store.database.open_database`.
    """
    async with open_database(url) as database:
        yield Store(
            database=database,
            files=FileRecords(database),
            uploads=UploadRecords(database),
            idempotency=IdempotencyRecords(database),
            jobs=JobRecords(database),
            batches=BatchRecords(database),
            chat_completions=ChatCompletionRecords(database),
            models=ModelRecords(database),
            responses=ResponseRecords(database),
            keys=KeyRecords(database),
            sessions=SessionRecords(database),
            projects=ProjectRecords(database),
            limits=LimitRecords(database),
            permissions=PermissionRecords(database),
            machines=MachineRecords(database),
            webhooks=WebhookRecords(database),
            outbox=Outbox(database),
            usage=UsageRecords(database),
            curves=CurveRecords(database),
            job_changes=JobChanges(database),
        )
