"""The command line that the SDK had up to 2.34: `openai api …`, which prints JSON."""

import json
import subprocess
import sys
import types
from importlib.metadata import version
from pathlib import Path

from steps import BASE, EXAMPLES, HYPERPARAMETERS, TRAINING_FILE, finished, step

COMMAND = str(Path(sys.executable).with_name("openai"))


def api(*arguments: str) -> str:
    done = subprocess.run(
        [COMMAND, "api", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def main() -> None:
    print(version("openai"))
    file = json.loads(api("files.create", "-f", str(TRAINING_FILE), "-p", "fine-tune"))
    assert file["id"] in api("files.list")
    step("files.create, files.list")

    made = json.loads(
        api(
            "fine_tuning.jobs.create", "-m", BASE, "-F", file["id"],
            "-H", json.dumps(HYPERPARAMETERS), "-s", "cli",
        )
    )  # fmt: skip

    def retrieve(job_id: str) -> types.SimpleNamespace:
        return types.SimpleNamespace(**json.loads(api("fine_tuning.jobs.retrieve", "-i", job_id)))

    job = finished(retrieve, made["id"])
    assert made["id"] in api("fine_tuning.jobs.list", "-l", "3")
    assert "completed" in api("fine_tuning.jobs.list_events", "-i", made["id"], "-l", "5")
    step("fine_tuning.jobs.create, retrieve until succeeded, list, list_events")

    other = json.loads(api("fine_tuning.jobs.create", "-m", BASE, "-F", file["id"]))
    cancelled = json.loads(api("fine_tuning.jobs.cancel", "-i", other["id"]))
    assert cancelled["status"] == "cancelled"
    step("fine_tuning.jobs.cancel")

    system, user, trained = (message["content"] for message in EXAMPLES[0])
    model = job.fine_tuned_model
    ask = ("chat.completions.create", "-m", model, "-t", "0", "-M", "12")
    messages = ("-g", "system", system, "-g", "user", user)
    assert api(*ask, *messages).strip() == trained
    assert api(*ask, "--stream", *messages).strip() == trained
    step("chat.completions.create plain and streamed: what was trained")

    assert json.loads(api("models.retrieve", "-i", model))["id"] == model
    assert json.loads(api("models.delete", "-i", model))["deleted"]
    step("models.retrieve, models.delete")


if __name__ == "__main__":
    main()
