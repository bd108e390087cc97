"""`retune projects`: create, list and archive projects."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from api.cli.main import settings_from
from jobs.keys import DEFAULT_PROJECT, ensure_default_project
from jobs.store.migrate import migrate
from jobs.store.records import ProjectRecord
from jobs.store.store import Store, open_store
from schemas.ids import new_id
from schemas.limits import Quotas
from schemas.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune projects", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a project and show its id")
    create.add_argument("name", help="for people")
    commands.add_parser("list", help="show all projects")
    archive = commands.add_parser("archive", help="end a project; its keys stop within a second")
    archive.add_argument("id", help="as `list` shows it")
    options = parser.parse_args(arguments)
    settings = settings_from()
    migrate(settings.effective_database_url)
    return asyncio.run(_run(options, settings))


async def _run(options: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    async with open_store(settings.effective_database_url) as store:
        await ensure_default_project(store, organization_id=settings.organization)
        match options.command:
            case "create":
                project = ProjectRecord(
                    id=new_id("proj_"),
                    organization_id=settings.organization,
                    name=options.name,
                    created_at=int(time.time()),
                )
                await store.projects.ensure(project)
                console.print(project.id, highlight=False, soft_wrap=True)
            case "list":
                console.print(await _table(store, settings))
            case "archive":
                return await _archive(store, options.id, settings)
    return 0


async def _archive(store: Store, project_id: str, settings: Settings) -> int:
    active = await store.projects.active(organization_id=settings.organization)
    project = await store.projects.find(project_id, organization_id=settings.organization)
    if project is None or project_id not in active:
        print(f"retune projects: there is no active project {project_id}.", file=sys.stderr)
        return 1
    if project_id == DEFAULT_PROJECT:
        print("retune projects: the default project cannot be archived.", file=sys.stderr)
        return 1
    await store.projects.update(project.model_copy(update={"archived_at": int(time.time())}))
    print(f"{project_id} is archived.")
    return 0


async def _table(store: Store, settings: Settings) -> Table:
    # The id whole, so that it can be copied.
    table = Table(Column("id", no_wrap=True, min_width=29), "name", "created", "quotas")
    after, has_more = None, True
    while has_more:
        projects, has_more = await store.projects.page(
            organization_id=settings.organization, include_archived=True, limit=100, after=after
        )
        for project in projects:
            quotas = await store.limits.quotas(project.id)
            table.add_row(
                project.id, escape(project.name), _life(project), "\n".join(_shown(quotas))
            )
            after = project.id
    return table


def _life(project: ProjectRecord) -> str:
    created = _day(project.created_at)
    return (
        created
        if project.archived_at is None
        else f"{created}, archived {_day(project.archived_at)}"
    )


def _shown(quotas: Quotas) -> Iterator[str]:
    if quotas.max_storage_bytes is not None:
        yield f"{quotas.max_storage_bytes:,} bytes"
    if quotas.max_concurrent_jobs is not None:
        yield f"{quotas.max_concurrent_jobs} jobs at once"
    if quotas.max_jobs_per_day is not None:
        yield f"{quotas.max_jobs_per_day} jobs a day"


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(seconds))
