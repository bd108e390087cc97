"""Kill -9 of anything during a job: it ends `succeeded` under the same id, with exactly one model."""

import subprocess
import time

import pytest
from redis import Redis

from schemas.settings import Settings
from tests.e2e.journey import ask, create_job, demo_lines, events, finished, until_step
from tests.e2e.server import descendants, running_server, wait_for
from tests.servers import private_directory

pytestmark = pytest.mark.engine

EXAMPLES = demo_lines("train.jsonl")[:40]
LONG = {"n_epochs": 10, "batch_size": 4}
STEPS = 100


def assert_succeeded_once(client, job):
    """One model, every step told once, the end told once."""
    job = finished(client, job.id)
    assert job.status == "succeeded", (job.error, events(client, job.id))
    names = [m.id for m in client.models.list() if m.id == job.fine_tuned_model]
    assert names == [job.fine_tuned_model]
    listed = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    steps = [event.data["step"] for event in listed if event.type == "metrics"]
    assert sorted(steps) == list(range(1, STEPS + 1))
    told = [event.message for event in listed]
    assert told.count("The job has successfully completed") == 1
    assert sum(message.startswith("New fine-tuned model created") for message in told) == 1
    assert ask(client, job.fine_tuned_model, "My card was stolen") is not None
    return job


@pytest.fixture
def running_job(client):
    """A job that is training, some way from its end."""
    job = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
    until_step(client, job.id, 5)
    return job


def resume_points(server, job):
    """The steps from which a killed trainer's successor could go on."""
    found = (server.data_dir / "work" / job.id / "resume").glob("step-*")
    return [int(path.name.removeprefix("step-")) for path in found if path.name[5:].isdigit()]


@pytest.mark.parametrize("victim", ["-m jobs.training", "--only worker"], ids=["trainer", "worker"])
def test_a_killed_process_costs_no_job(client, server, running_job, victim):
    """The trainer, or the worker with it, dies; another goes on from the last resume point."""
    wait_for(lambda: resume_points(server, running_job), seconds=60, what="a resume point on disk")
    saved = max(resume_points(server, running_job))
    assert server.kill(victim) >= 1
    assert_succeeded_once(client, running_job)
    # Nothing is trained twice beyond the last resume point.
    (again,) = [m for m in events(client, running_job.id) if m.startswith("Going on after step")]
    assert int(again.split()[4].split("/")[0]) >= saved


def test_a_killed_redis_costs_no_job(client, server, running_job):
    """The queue dies under a running job, and while another is created."""
    server.kill("redis.sock")
    second = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
    assert_succeeded_once(client, running_job)
    assert_succeeded_once(client, second)


def test_flushing_redis_costs_nothing(client, server, running_job):
    """Everything in Redis is gone; no job notices."""
    settings = Settings(data_dir=server.data_dir, bases_dir=server.data_dir)
    with Redis(unix_socket_path=str(settings.run_dir / "redis.sock")) as redis:
        redis.flushall()
    second = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
    with Redis(unix_socket_path=str(settings.run_dir / "redis.sock")) as redis:
        redis.flushall()
    assert_succeeded_once(client, running_job)
    assert_succeeded_once(client, second)


def test_a_killed_engine_costs_no_job_and_no_model(client, server, running_job):
    """The engine dies while a job trains: it comes back with its adapters, and the job proves its own."""
    before = [m.id for m in client.models.list() if m.id.startswith("ft:")]
    server.kill("vllm.entrypoints")
    assert_succeeded_once(client, running_job)
    for name in before[:2]:
        assert ask(client, name, "Hello") is not None


@pytest.mark.slow
def test_a_request_waits_for_an_engine_that_was_killed(client, server):
    """A chat that comes while the engine restarts is answered, not refused."""
    assert ask(client, "retune-nano", "Hello") is not None
    server.kill("vllm.entrypoints")
    began = time.monotonic()
    assert ask(client, "retune-nano", "Hello") is not None
    assert time.monotonic() - began < 120


def test_a_killed_api_is_back_in_seconds(client, server):
    """The next request is answered by its successor."""
    server.kill("--only api")
    assert client.with_options(max_retries=8).models.list().data


def test_nothing_survives_a_killed_server():
    """Kill -9 of the whole server leaves no process behind: no trainer without a supervisor, no engine."""
    with (
        private_directory("retune-e2e-") as directory,
        running_server(directory / "data") as server,
    ):
        client = server.client()
        job = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
        until_step(client, job.id, 2)
        below = descendants(server.process.pid)
        assert len(below) >= 4
        server.process.kill()
        server.process.wait()
        wait_for(
            lambda: not any(is_alive(pid) for pid in below), seconds=30, what="all processes gone"
        )
        with running_server(directory / "data") as again:
            assert_succeeded_once(again.client(), job)


@pytest.mark.slow
def test_ctrl_c_gives_jobs_back():
    """A polite stop saves a resume point and ends with 0; the next start goes on from that very step."""
    with private_directory("retune-e2e-") as directory:
        with running_server(directory / "data") as server:
            client = server.client()
            job = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
            until_step(client, job.id, 8)
            assert server.stop() == 0
        with running_server(directory / "data") as again:
            assert_succeeded_once(again.client(), job)
            told = events(again.client(), job.id)
    (resumed,) = [message for message in told if message.startswith("Going on after step")]
    assert int(resumed.split()[4].split("/")[0]) >= 8
    assert not any("ended by signal" in message for message in told)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.strip().startswith(b"Z")


def test_the_engines_socket_is_private(server, client):
    """Only our own user can speak to vLLM: its socket lies in a directory of mode 700."""
    ask(client, "retune-nano", "Hello")
    settings = Settings(data_dir=server.data_dir, bases_dir=server.data_dir)
    assert settings.run_dir.stat().st_mode & 0o077 == 0
    assert list(settings.run_dir.glob("base-*.sock"))
