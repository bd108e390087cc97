"""What tests share: real servers for a session, clean stores and directories for each test."""

import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from redis import Redis

from api.cli.main import settings_from, use_fixed_sqlite
from jobs.bases.catalog import NANO_DIRECTORY, SMOLLM2
from schemas.settings import Settings
from tests.servers import private_directory, running_postgres, running_redis

# Nobody needs a browser but for `make test-browser`.
collect_ignore = [] if find_spec("playwright") else ["browser"]


def pytest_configure() -> None:
    """Choose the SQLite as a process of ours does, and one thread for torch, before a test imports either.

    With more threads sums are taken in another order, and the last bits depend on the machine.
    """
    use_fixed_sqlite()
    os.environ.setdefault("OMP_NUM_THREADS", "1")


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
    return Settings(
        data_dir=short_tmp_path / "data",
        bases_dir=short_tmp_path / "bases",
        warm_trainer=False,  # seconds of a core each; its own tests have one
    )


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
def nano_dir() -> Path:
    """The tiny base, `retune-nano`, as the repository carries it."""
    if not (NANO_DIRECTORY / "config.json").is_file():
        pytest.fail(
            f"{NANO_DIRECTORY} is not there: python -m jobs.training.pretrain_nano makes it"
        )
    return NANO_DIRECTORY


@pytest.fixture(scope="session")
def smollm2_dir() -> Path:
    """The real base, SmolLM2-135M-Instruct, where `make setup-bases` prepares it on this machine."""
    directory = settings_from().bases_dir / SMOLLM2
    if not (directory / "config.json").is_file():
        pytest.fail(f"{directory} is not prepared: run `make setup-bases`")
    return directory
