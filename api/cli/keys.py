"""`retune keys`: create, list, rotate and revoke API keys."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final, get_args

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from api.cli.main import settings_from
from jobs.keys import (
    DEFAULT_PROJECT,
    create_admin_key,
    create_key,
    ensure_default_project,
    rotate_key,
)
from jobs.store.migrate import migrate
from jobs.store.records import KeyRecord
from jobs.store.store import Store, open_store
from schemas.scopes import READ_ONLY, ProjectScope
from schemas.settings import Settings

_DAY: Final = 24 * 3600
_SCOPES: Final = (*get_args(ProjectScope), READ_ONLY)


class NotThere(Exception):
    """What the command names does not exist; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "create" and options.admin and options.scope:
        parser.error("an admin key cannot be restricted")
    settings = settings_from()
    migrate(settings.effective_database_url)
    try:
        asyncio.run(_run(options, settings))
    except NotThere as exc:
        print(f"retune keys: {exc}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="retune keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and show it: this once")
    create.add_argument("--name", default="unnamed", help="what it is for")
    create.add_argument("--expires", type=_days, metavar="DAYS", help="when it ends; never")
    of_what = create.add_mutually_exclusive_group()
    of_what.add_argument(
        "--project", default=DEFAULT_PROJECT, metavar="ID", help=f"its project; {DEFAULT_PROJECT}"
    )
    of_what.add_argument(
        "--admin", action="store_true", help="a key for /v1/organization, which opens no project"
    )
    create.add_argument(
        "--scope",
        action="append",
        default=[],
        choices=_SCOPES,
        metavar="SCOPE",
        help=f"restrict it, repeatable: {', '.join(_SCOPES)}",
    )
    commands.add_parser("list", help="show all keys, without the keys")
    rotate = commands.add_parser("rotate", help="give a key a new secret, and show it: this once")
    rotate.add_argument("id", help="as `list` shows it")
    rotate.add_argument(
        "--keep-old", type=_hours, default=0, metavar="HOURS", help="the old one works as long; 0"
    )
    revoke = commands.add_parser("revoke", help="close a key; it stops working within a second")
    revoke.add_argument("id", help="as `list` shows it")
    return parser


async def _run(options: argparse.Namespace, settings: Settings) -> None:
    console = Console()
    async with open_store(settings.effective_database_url) as store:
        match options.command:
            case "create":
                console.print(
                    await _create(store, options, settings), highlight=False, soft_wrap=True
                )
            case "list":
                console.print(_table(await store.keys.all(), now=int(time.time())))
            case "rotate":
                key, _ = await rotate_key(
                    store, await _open_key(store, options.id), old_works_for=options.keep_old
                )
                console.print(key, highlight=False, soft_wrap=True)
            case "revoke":
                record = await _open_key(store, options.id)
                await store.keys.revoke(record.id, now=int(time.time()))
                console.print(f"{options.id} is revoked.")


async def _create(store: Store, options: argparse.Namespace, settings: Settings) -> str:
    organization = settings.organization
    expires_at = None if options.expires is None else int(time.time()) + options.expires
    if options.admin:
        key, _ = await create_admin_key(
            store, name=options.name, organization_id=organization, expires_at=expires_at
        )
        return key
    await ensure_default_project(store, organization_id=organization)
    if options.project not in await store.projects.active(organization_id=organization):
        raise NotThere(
            f"there is no active project '{options.project}'; `retune projects list` shows all."
        )
    key, _ = await create_key(
        store,
        name=options.name,
        organization_id=organization,
        project_id=options.project,
        scopes=options.scope,
        expires_at=expires_at,
    )
    return key


async def _open_key(store: Store, key_id: str) -> KeyRecord:
    record = await store.keys.find_open(key_id)
    if record is None:
        raise NotThere(f"there is no open key with id {key_id}; `retune keys list` shows all.")
    return record


def _table(keys: Sequence[KeyRecord], *, now: int) -> Table:
    table = Table(
        Column("id, project, key", no_wrap=True, min_width=29),  # whole, so that they can be copied
        Column("name, may", overflow="fold"),
        Column("since, until", no_wrap=True, min_width=24),
        show_lines=True,
    )
    for key in keys:
        table.add_row(
            f"{key.id}\n{key.project_id or 'the organization'}\n{key.hint}",
            "\n".join((escape(key.name), *(key.scopes or ("may do all",)))),
            "\n".join(_times(key, now=now)),
        )
    return table


def _times(key: KeyRecord, *, now: int) -> Iterator[str]:
    yield f"created {_minute(key.created_at)}"
    if key.last_used_at is not None:
        yield f"used    {_minute(key.last_used_at)}"
    if key.revoked_at is not None:
        yield f"revoked {_minute(key.revoked_at)}"
    elif key.expires_at is not None:
        yield f"{'expired' if key.expires_at <= now else 'expires'} {_minute(key.expires_at)}"


def _minute(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def _days(text: str) -> int:
    """Return days as seconds."""
    return _positive(text) * _DAY


def _hours(text: str) -> int:
    """Return hours as seconds."""
    return _positive(text) * 3600


def _positive(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 36_500:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 36500")
    return number
