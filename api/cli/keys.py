"""`retune keys`: create, list and revoke API keys."""

import argparse
import asyncio
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from api.cli.main import settings_from
from jobs.keys import create_key
from jobs.store.migrate import migrate
from jobs.store.store import Store, open_store
from schemas.settings import Settings


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune keys", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser("create", help="make a key and show it: this once")
    create.add_argument("--name", default="unnamed", help="what it is for")
    commands.add_parser("list", help="show all keys, without the keys")
    revoke = commands.add_parser("revoke", help="close a key; it stops working within a second")
    revoke.add_argument("id", help="as `list` shows it")
    options = parser.parse_args(arguments)
    settings = settings_from()
    migrate(settings.effective_database_url)
    return asyncio.run(_run(options, settings))


async def _run(options: argparse.Namespace, settings: Settings) -> int:
    console = Console()
    async with open_store(settings.effective_database_url) as store:
        match options.command:
            case "create":
                key, _ = await create_key(
                    store, name=options.name, organization_id=settings.organization
                )
                console.print(key, highlight=False, soft_wrap=True)
            case "list":
                console.print(await _table(store))
            case "revoke":
                if not await store.keys.revoke(options.id, now=int(time.time())):
                    console.print(f"There is no open key with id {options.id}.")
                    return 1
                console.print(f"{options.id} is revoked.")
    return 0


async def _table(store: Store) -> Table:
    table = Table("id", "name", "key", "created", "revoked")
    for key in await store.keys.all():
        revoked = "" if key.revoked_at is None else _day(key.revoked_at)
        table.add_row(key.id, key.name, key.hint, _day(key.created_at), revoked)
    return table


def _day(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
