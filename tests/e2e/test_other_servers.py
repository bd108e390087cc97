"""With the operator's own database, queue and engine: serve starts none of them, and all works as well."""

from uuid import uuid4

import httpx
import psycopg
import pytest

from tests.e2e.journey import ask, create_job, finished
from tests.e2e.server import running_server
from tests.servers import private_directory

pytestmark = pytest.mark.engine


@pytest.fixture
def empty_postgres(postgres_url):
    """A database of the test's own."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield postgres_url.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_api_alone(empty_postgres):
    """`--only api`, as a container runs it, needs no one else to answer: the key is good, readiness says what lacks."""
    with (
        private_directory("retune-e2e-") as directory,
        running_server(
            directory / "data", "--only", "api", ready="/health", RETUNE_DATABASE_URL=empty_postgres
        ) as alone,
    ):
        assert "retune-nano" in {model.id for model in alone.client().models.list()}
        answer = httpx.get(f"http://127.0.0.1:{alone.port}/ready")
        assert answer.status_code == 503
        assert "start one with `retune serve --only worker`" in answer.text
        assert alone.pids("") == []


def test_a_job_on_postgres_and_servers_of_the_operators(
    server, client, empty_postgres, redis_server_url
):
    """A second server uses a Postgres, a Redis and the first one's engine, and starts none itself."""
    ask(client, "retune-nano", "Hello")
    (socket,) = (server.data_dir / "run").glob("base-*.sock")
    with (
        private_directory("retune-e2e-") as directory,
        running_server(
            directory / "data",
            RETUNE_DATABASE_URL=empty_postgres,
            RETUNE_REDIS_URL=redis_server_url,
            RETUNE_ENGINE_URLS=f"retune-nano=unix://{socket}",
        ) as second,
    ):
        there = second.client()
        job = finished(
            there, create_job(there, hyperparameters={"n_epochs": 1, "batch_size": 8}).id
        )
        assert job.status == "succeeded", job.error
        assert ask(there, job.fine_tuned_model, "Hello") is not None
        assert ask(there, "retune-nano", "Hello") == ask(client, "retune-nano", "Hello")
        assert second.pids("vllm") == []
        assert second.pids("valkey") == []
        assert not (second.data_dir / "retune.db").exists()
