"""What users do, with OpenAI's SDK, in words that tests can use."""

import json
import time
from importlib import resources

ENDS = {"succeeded", "failed", "cancelled"}


def demo_lines(name: str) -> list[dict]:
    """The demo's own data."""
    text = (resources.files("api.demo") / name).read_text()
    return [json.loads(line) for line in text.splitlines()]


def jsonl(examples) -> bytes:
    return "".join(json.dumps(example) + "\n" for example in examples).encode()


def upload(client, examples, name="train.jsonl"):
    return client.files.create(file=(name, jsonl(examples)), purpose="fine-tune")


def create_job(client, *, base="retune-nano", examples=None, hyperparameters=None, **options):
    """Upload and create."""
    file = upload(client, demo_lines("train.jsonl")[:40] if examples is None else examples)
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters or {}}}
    return client.fine_tuning.jobs.create(
        model=base, training_file=file.id, method=method, **options
    )


def finished(client, job_id, *, seconds=240):
    """Wait for a job's end."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job_id)
        if job.status in ENDS:
            return job
        time.sleep(0.2)
    raise AssertionError(
        f"{job_id} is still {job.status} after {seconds} s: {events(client, job_id)[-5:]}"
    )


def until_step(client, job_id, step, *, seconds=120):
    """Wait until a job has told of a step."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        steps = [
            e.data["step"]
            for e in client.fine_tuning.jobs.list_events(job_id)
            if e.type == "metrics"
        ]
        if steps and max(steps) >= step:
            return
        job = client.fine_tuning.jobs.retrieve(job_id)
        assert job.status not in ENDS, job.error
        time.sleep(0.1)
    raise AssertionError(f"{job_id} did not come to step {step} within {seconds} s")


def events(client, job_id):
    """All messages, oldest first."""
    listed = client.fine_tuning.jobs.list_events(job_id, limit=100)
    return [event.message for event in reversed(list(listed))]


def ask(client, model, text, **options):
    """One answer, greedy."""
    completion = client.chat.completions.create(
        model=model,
        messages=[
            {
                "role": "system",
                "content": "Classify the customer's message. Answer with the code only.",
            },
            {"role": "user", "content": text},
        ],
        temperature=0,
        max_tokens=12,
        **options,
    )
    return completion.choices[0].message.content
