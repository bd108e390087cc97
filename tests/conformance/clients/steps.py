"""What the scripts beside this one share: the examples, how to wait, and how to tell what passed."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

BASE = os.environ["BASE_MODEL"]
TRAINING_FILE = Path(os.environ["TRAINING_FILE"])
EXAMPLES = [json.loads(line)["messages"] for line in TRAINING_FILE.read_text().splitlines()]
"""Each is a system message, a customer's message and a code."""
CODES = {messages[-1]["content"] for messages in EXAMPLES}
HYPERPARAMETERS = {"n_epochs": 5, "batch_size": 4}
STEPS = 15
"""Of those epochs over twelve examples."""
OVER = {"succeeded", "failed", "cancelled"}


def step(what: str) -> None:
    """Say that this much has passed."""
    print(f"✓ {what}", flush=True)


def until(look: Callable[[], object], *, seconds: float = 240, every: float = 0.5):
    """Return the first true thing that `look` finds."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, "too long"
        time.sleep(every)
    return found


def finished(retrieve: Callable[[str], object], job_id: str):
    """Return a job that has ended, asked for as the client does it."""

    def ended():
        job = retrieve(job_id)
        return job if job.status in OVER else None

    job = until(ended)
    assert job.status == "succeeded", job
    return job
