"""Two jobs in a row: the second is trained by a process that was there, with its base loaded, before it came."""

import os
import signal

import pytest

from tests.e2e.journey import create_job, demo_lines, events, finished, until_step
from tests.e2e.server import wait_for

pytestmark = pytest.mark.engine

EXAMPLES = demo_lines("train.jsonl")[:40]
SHORT = {"n_epochs": 1, "batch_size": 8}
LONG = {"n_epochs": 10, "batch_size": 4}


def warm_trainer(server):
    """The process that waits, once all is loaded."""
    log = server.data_dir / "logs" / "spare-trainer.log"

    def find():
        told = log.read_text() if log.exists() else ""
        waiting = [p for p in server.pids("-m jobs.training") if f"warmed up: pid={p} " in told]
        return waiting[0] if waiting else None

    return wait_for(find, seconds=120, what="a warm trainer")


def curve(client, job):
    listed = client.fine_tuning.jobs.list_events(job.id, limit=100)
    return sorted(
        (event.data["step"], event.data["train_loss"])
        for event in listed
        if event.type == "metrics"
    )


def test_the_second_of_two_jobs_is_trained_by_a_warm_trainer(client, server):
    """Its process had everything loaded before the job was made, and learns just what a cold one learns."""
    first = finished(
        client, create_job(client, examples=EXAMPLES, hyperparameters=SHORT, seed=3).id
    )
    waiting = warm_trainer(server)

    job = create_job(client, examples=EXAMPLES, hyperparameters=SHORT, seed=3)
    second = finished(client, job.id)

    assert (first.status, second.status) == ("succeeded", "succeeded")
    assert f"trainer started: pid={waiting} warm=True" in server.log_path.read_text()
    assert curve(client, second) == curve(client, first)
    # It trained one job and is gone; another waits for the next.
    assert warm_trainer(server) != waiting


def test_killing_the_one_that_waits_costs_no_job(client, server):
    """Kill -9 of the spare is not even seen: the next job is trained, and told of no failure."""
    finished(client, create_job(client, examples=EXAMPLES, hyperparameters=SHORT).id)
    os.kill(warm_trainer(server), signal.SIGKILL)

    job = finished(client, create_job(client, examples=EXAMPLES, hyperparameters=SHORT).id)

    assert job.status == "succeeded", job.error
    assert not any("ended by signal" in message for message in events(client, job.id))


@pytest.mark.slow
def test_a_warm_trainer_that_is_killed_at_work_costs_no_job(client, server):
    """It is a trainer as any other: its successor goes on from the last resume point."""
    finished(client, create_job(client, examples=EXAMPLES, hyperparameters=SHORT).id)
    waiting = warm_trainer(server)
    job = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
    until_step(client, job.id, 3)

    os.kill(waiting, signal.SIGKILL)

    job = finished(client, job.id)
    assert job.status == "succeeded", job.error
    (failure,) = [message for message in events(client, job.id) if "signal 9" in message]
    assert "Going on from the last resume point" in failure
    assert [step for step, _ in curve(client, job)] == list(range(1, 101))


@pytest.mark.slow
def test_a_paused_job_that_a_warm_trainer_had_goes_on(client, server):
    """The spare hears of a pause as any trainer does: it saves and goes."""
    finished(client, create_job(client, examples=EXAMPLES, hyperparameters=SHORT).id)
    waiting = warm_trainer(server)
    job = create_job(client, examples=EXAMPLES, hyperparameters=LONG)
    until_step(client, job.id, 3)
    client.fine_tuning.jobs.pause(job.id)
    wait_for(
        lambda: client.fine_tuning.jobs.retrieve(job.id).status == "paused",
        seconds=60,
        what="the pause",
    )
    assert waiting not in server.pids("-m jobs.training")
    client.fine_tuning.jobs.resume(job.id)

    job = finished(client, job.id)
    assert job.status == "succeeded", job.error
    assert [step for step, _ in curve(client, job)] == list(range(1, 101))
