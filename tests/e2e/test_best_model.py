"""Extensions of the hyperparameters, through the SDK, the worker, the trainer and the engine."""

import pytest

from tests.e2e.journey import create_job, demo_lines, events, finished

pytestmark = [pytest.mark.engine, pytest.mark.training]


def test_a_split_chooses_the_model(client):
    """Held-out examples say which step's model gets the name; the job shows what was asked for."""
    wishes = {
        "n_epochs": 4,
        "batch_size": 8,
        "lora_rank": 8,
        "validation_split": 0.2,
        "early_stopping": {"patience": 1, "min_gain": 5.0},
    }
    job = finished(
        client,
        create_job(client, examples=demo_lines("train.jsonl")[:40], hyperparameters=wishes).id,
    )

    assert job.status == "succeeded", job.error
    told = events(client, job.id)
    assert any(line.startswith("The final model is that of ") for line in told)
    assert any(line.startswith("Stopped after step 8 of 16") for line in told)
    shown = job.method.supervised.hyperparameters.to_dict()
    metric = {"metric": "full_valid_loss"}
    assert shown == wishes | {
        "early_stopping": wishes["early_stopping"] | metric, "learning_rate_multiplier": 1.0,
    }  # fmt: skip
    saved = client.fine_tuning.jobs.checkpoints.list(job.id).data
    assert saved[0].fine_tuned_model_checkpoint == job.fine_tuned_model
    # Both epochs that were trained: one is the final model, the other has a name of its own.
    assert {checkpoint.step_number for checkpoint in saved} == {4, 8}
