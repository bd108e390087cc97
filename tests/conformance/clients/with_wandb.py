"""W&B's importer: a finished job's curve and configuration become a run, which stays on this machine."""

import csv
import os
import tempfile
from importlib.metadata import version
from pathlib import Path

import wandb
from openai import OpenAI
from steps import step
from wandb.integration.openai.fine_tuning import WandbLogger

JOB = os.environ["FINE_TUNING_JOB"]


def main() -> None:
    print(version("wandb"))
    with tempfile.TemporaryDirectory() as directory:
        os.environ |= {
            "WANDB_DIR": directory,
            "WANDB_API_KEY": "0" * 40,  # it insists on one, and never gets to use it
            "WANDB_BASE_URL": "http://127.0.0.1:9",
        }
        import_job(Path(directory))


def import_job(directory: Path) -> None:
    """Import the job, and hold the run against the job and its result file."""
    client = OpenAI()
    WandbLogger._logged_in = True  # where nobody can log in, the importer asks all the same
    told = WandbLogger.sync(
        fine_tune_job_id=JOB,
        openai_client=client,
        mode="offline",
        log_datasets=False,  # W&B itself refuses artifacts of files where it is offline
    )
    assert "successfully" in told
    assert wandb.run is None
    step("WandbLogger.sync")

    job = client.fine_tuning.jobs.retrieve(JOB)
    config = dict(WandbLogger._run.config)
    assert config["fine_tuned_model"] == job.fine_tuned_model
    assert config["hyperparameters"] == job.hyperparameters.model_dump()
    assert config["trained_tokens"] == job.trained_tokens
    step("its configuration is the job's")

    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    rows = list(csv.DictReader(client.files.content(job.result_files[0]).text.splitlines()))
    # Each record of the file names its columns; losses stand in it as numbers in JSON.
    kept = path.read_bytes()
    assert kept.count(b"train_accuracy") >= len(rows) > 1
    assert all(row["train_loss"].encode() in kept for row in rows)
    step("its curve is the result file's")


if __name__ == "__main__":
    main()
