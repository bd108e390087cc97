"""A pause gives the device to others, and costs a job nothing but time."""

import pytest

from tests.e2e.journey import create_job, demo_lines, events, finished, until_step
from tests.e2e.server import wait_for

pytestmark = pytest.mark.engine

EXAMPLES = demo_lines("train.jsonl")[:40]
LONG = {"n_epochs": 10, "batch_size": 4}
STEPS = 100


def curve(client, job):
    """Step, loss, accuracy and rate of every step that a job has told of."""
    listed = client.fine_tuning.jobs.list_events(job.id, limit=100)
    names = ("step", "train_loss", "train_mean_token_accuracy", "learning_rate")
    told = [[event.data[name] for name in names] for event in listed if event.type == "metrics"]
    return sorted(told)


def test_a_paused_job_frees_its_device_and_ends_as_one_that_was_never_paused(client, server):
    """While it is paused no trainer runs and another job is trained; then its losses are that one's."""
    job = create_job(client, examples=EXAMPLES, hyperparameters=LONG, seed=7)
    until_step(client, job.id, 5)
    trainers = server.pids("-m jobs.training")
    assert client.fine_tuning.jobs.pause(job.id).status == "running"

    def is_paused():
        return client.fine_tuning.jobs.retrieve(job.id).status == "paused"

    wait_for(is_paused, seconds=30, what="the pause")
    # Another may wait already, for the next job.
    assert trainers
    assert not set(trainers) & set(server.pids("-m jobs.training"))
    before = curve(client, job)
    assert 5 <= len(before) < STEPS

    other = finished(client, create_job(client, examples=EXAMPLES, hyperparameters=LONG, seed=7).id)
    assert other.status == "succeeded", other.error
    assert is_paused()
    assert curve(client, job) == before

    assert client.fine_tuning.jobs.resume(job.id).status == "queued"
    job = finished(client, job.id)
    assert job.status == "succeeded", (job.error, events(client, job.id))
    assert curve(client, job) == curve(client, other)
    assert len(curve(client, job)) == STEPS
    assert job.trained_tokens == other.trained_tokens
    told = events(client, job.id)
    (again,) = [message for message in told if message.startswith("Going on after step")]
    assert again == f"Going on after step {len(before)}/{STEPS}"
    paused, resumed = told.index("Fine-tuning job paused"), told.index("Fine-tuning job resumed")
    assert paused < resumed
