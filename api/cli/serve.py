"""`retune serve`: Redis, engines, a worker and the API, started together, kept alive, stopped in order."""

import argparse
import asyncio
import contextlib
import fcntl
import logging
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import uvicorn
import uvloop
from litestar.types import ASGIApp

from api.app import create_app
from api.cli.main import settings_from
from jobs.engine_keeper import EngineKeeper
from jobs.keys import create_key, ensure_operator_key
from jobs.redis_server import RedisServer, RedisServerError
from jobs.services import Services, open_services, readiness
from jobs.store.database import DatabaseUnusable
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from jobs.worker import Worker
from schemas.settings import Settings
from serving.child import die_with_us

logger = logging.getLogger(__name__)

PARTS: Final = ("api", "worker", "engines")
_STOP_SECONDS: Final = 35.0
_RESTART_AFTER: Final = 1.0


class CannotServe(Exception):
    """The server cannot start; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="retune serve", description=__doc__)
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen (default: %(default)s)"
    )
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--only", choices=PARTS, help="run one part; start the others elsewhere")
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO,
        format="%(asctime)s %(levelname)-7s %(name)s %(message)s",
        stream=sys.stderr,
    )
    for chatty in ("alembic", "arq"):  # a line a migration, a line a wake-up
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            # The way of every request and chunk: uvloop takes half as long. Elsewhere loops sleep.
            factory = uvloop.new_event_loop if options.only == "api" else None
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(_run(options, settings_from()))
    except (CannotServe, DatabaseUnusable, RedisServerError, ValueError) as exc:
        print(f"retune serve: {exc}", file=sys.stderr)
        return 1
    return 0


async def _run(options: argparse.Namespace, settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if options.only != "api":  # uvicorn handles signals itself
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
    if not options.supervised:
        await asyncio.to_thread(_prepare, settings)
        if options.only == "api":
            await _announce_key(settings)
    match options.only:
        case None:
            await _serve_all(options, settings, stop)
        case "api":
            await _serve_api(options, settings)
        case "worker":
            async with open_services(settings) as services:
                await _until(stop, Worker(services).run())
        case "engines":
            async with open_services(settings) as services:
                await _until(stop, EngineKeeper(services).run())


def _prepare(settings: Settings) -> None:
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        settings.run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise CannotServe(
            f"{exc}. Set RETUNE_DATA_DIR to a directory that can be written."
        ) from exc
    migrate(settings.effective_database_url)


def server_config(
    application: ASGIApp, settings: Settings, *, host: str, port: int
) -> uvicorn.Config:
    """Return how an application is served: whom its requests came from, and how, is what trusted proxies say."""
    return uvicorn.Config(
        application,
        host=host,
        port=port,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=settings.trusted_proxies,
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=30,
    )


async def _serve_api(options: argparse.Namespace, settings: Settings) -> None:
    application = create_app(settings)
    config = server_config(application, settings, host=options.host, port=options.port)
    await uvicorn.Server(config).serve()


async def _serve_all(options: argparse.Namespace, settings: Settings, stop: asyncio.Event) -> None:
    with _lock(settings.data_dir):
        _refuse_taken_port(options.host, options.port)
        await _announce_key(settings)  # after the lock: it may revoke the key that was before
        async with AsyncExitStack() as stack:
            if settings.redis_url is None:
                server = await stack.enter_async_context(
                    RedisServer(
                        socket=settings.run_dir / "redis.sock",
                        directory=settings.data_dir.absolute() / "redis",
                    )
                )
                await stack.enter_async_context(_running(server.watch(), stop))
            services = await stack.enter_async_context(open_services(settings))
            services.blobs.sweep_incoming()
            for problem in services.catalog.problems:
                print(f"Not offered: {problem}", flush=True)
            # Stopped in the opposite order: first nobody asks, then nobody trains, then the engines.
            await stack.enter_async_context(_running(EngineKeeper(services).run(), stop))
            await stack.enter_async_context(_child("worker", options, stop))
            await stack.enter_async_context(_child("api", options, stop))
            await stack.enter_async_context(_running(_announce_ready(services, options), stop))
            await stop.wait()
            print("Stopping …", flush=True)


@contextlib.contextmanager
def _lock(data_dir: Path) -> Generator[None]:
    path = data_dir / "serve.lock"
    with path.open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise CannotServe(
                f"another server already uses {data_dir}. Stop it, or set RETUNE_DATA_DIR."
            ) from exc
        yield


def _refuse_taken_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise CannotServe(
                f"cannot listen on {host}:{port} ({exc.strerror}). Choose another with --port."
            ) from exc


async def _announce_key(settings: Settings) -> None:
    async with open_store(settings.effective_database_url) as store:
        if settings.api_key is not None:
            await ensure_operator_key(
                store,
                settings.api_key.get_secret_value(),
                organization_id=settings.organization,
            )
        elif all(key.is_admin for key in await store.keys.all()):
            key, _ = await create_key(
                store, name="first key", organization_id=settings.organization
            )
            print(
                f"\nYour API key (shown once; `retune keys create` makes more):\n\n    {key}\n",
                flush=True,
            )


async def _announce_ready(services: Services, options: argparse.Namespace) -> None:
    while not (await readiness(services)).ok or not await _accepts(options.host, options.port):  # noqa: ASYNC110
        await asyncio.sleep(0.1)  # another process's state: there is nothing to wait on
    bases = ", ".join(base.name for base in services.catalog.all())
    address = f"http://{options.host}:{options.port}"
    print(
        f"retune is ready: {address}/v1  (base models: {bases}); in a browser: {address}/ui/",
        flush=True,
    )


async def _accepts(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


@asynccontextmanager
async def _child(
    part: str, options: argparse.Namespace, stop: asyncio.Event
) -> AsyncGenerator[None]:
    """Run a part in a process of its own, restarted when it dies, stopped at the end."""
    async with _running(_keep_child(part, options), stop):
        yield


async def _keep_child(part: str, options: argparse.Namespace) -> None:
    address = ("--host", options.host, "--port", str(options.port))
    command = [sys.executable, "-m", "api.cli.main", "serve", "--only", part, "--supervised"]
    while True:
        process = await asyncio.create_subprocess_exec(
            *command, *address, start_new_session=True, preexec_fn=die_with_us(signal.SIGTERM)
        )
        try:
            status = await process.wait()
        finally:
            if process.returncode is None:
                await asyncio.shield(_stop(process))
        logger.warning("%s ended with status %s, starting it again", part, status)
        await asyncio.sleep(_RESTART_AFTER)


async def _stop(process: asyncio.subprocess.Process) -> None:
    process.terminate()
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], stop: asyncio.Event) -> AsyncGenerator[None]:
    """Run something beside the body; it is cancelled, and waited for, at the end.

    Should it fail, everything stops: a server without one of its parts must not look alive.
    """
    task = asyncio.create_task(work)

    def notice(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and ended.exception() is not None:
            logger.error("a part of the server broke", exc_info=ended.exception())
            stop.set()

    task.add_done_callback(notice)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run something until it ends by itself or `stop` is set."""
    task = asyncio.create_task(work)
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not task.done():
        task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
