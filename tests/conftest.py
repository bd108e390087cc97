"""What tests share: real servers for a session, clean stores and directories for each test."""

import sys

if sys.platform == "linux":
    # As the process's entry point does, before anything imports `sqlite3`: a SQLite without the
    # WAL-reset bug.
    import pysqlite3

    sys.modules["sqlite3"] = pysqlite3

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import platformdirs
import psycopg
import pytest
from redis import Redis

from schemas.settings import Settings
from tests.servers import private_directory, running_postgres, running_redis


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Async tests run on asyncio, as the product does."""
    return "asyncio"


@pytest.fixture
def short_tmp_path() -> Iterator[Path]:
    """An empty directory for one test, with a path short enough for a unix socket."""
    with private_directory("retune-") as directory:
        yield directory


@pytest.fixture
def settings(short_tmp_path: Path) -> Settings:
    """Settings whose every directory is the test's own."""
    return Settings(data_dir=short_tmp_path / "data", bases_dir=short_tmp_path / "bases")


@pytest.fixture(scope="session")
def redis_server_url() -> Iterator[str]:
    """A real Redis server for the session."""
    with running_redis() as url:
        yield url


@pytest.fixture
def redis_url(redis_server_url: str) -> str:
    """A real Redis server, empty when the test begins."""
    with Redis.from_url(redis_server_url) as client:
        client.flushall()
    return redis_server_url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real Postgres cluster for the session: the URL of its maintenance database."""
    with running_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, short_tmp_path: Path) -> Iterator[str]:
    """An empty database for one test, once in SQLite and once in Postgres."""
    if request.param == "sqlite":
        yield f"sqlite:///{short_tmp_path / 'retune.db'}"
        return
    cluster = request.getfixturevalue("postgres_url")
    name = f"test_{uuid4().hex}"
    with psycopg.connect(cluster, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield cluster.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def bases_dir() -> Path:
    """Where this machine's prepared bases lie."""
    given = os.environ.get("RETUNE_BASES_DIR")
    return Path(given) if given else platformdirs.user_cache_path("retune") / "bases"


@pytest.fixture(scope="session")
def smollm2_dir(bases_dir: Path) -> Path:
    """The real base, SmolLM2-135M-Instruct, as `make setup-bases` prepares it."""
    directory = bases_dir / "smollm2-135m"
    if not (directory / "config.json").is_file():
        pytest.fail(f"{directory} is not prepared: run `make setup-bases`")
    return directory
