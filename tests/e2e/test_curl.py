"""The main job with nothing but curl, as automation does it."""

import json
import subprocess
import time

import pytest

from tests.e2e.journey import demo_lines, jsonl
from tests.e2e.server import KEY

pytestmark = pytest.mark.engine


def test_the_main_job_with_curl(server, tmp_path):
    """Upload by -F in the order that people type, create, poll, read events, ask, delete."""
    train = tmp_path / "train.jsonl"
    train.write_bytes(jsonl(demo_lines("train.jsonl")[:24]))

    def curl(path, *arguments):
        done = subprocess.run(
            [
                "curl",
                "-sS",
                f"{server.url}{path}",
                "-H",
                f"Authorization: Bearer {KEY}",
                *arguments,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    def post(path, body):
        return curl(path, "-H", "Content-Type: application/json", "-d", json.dumps(body))

    file = curl("/files", "-F", f"file=@{train}", "-F", "purpose=fine-tune")
    assert (file["object"], file["status"]) == ("file", "processed")
    job = post("/fine_tuning/jobs", {"model": "retune-nano", "training_file": file["id"]})
    assert job["status"] == "validating_files"
    deadline = time.monotonic() + 240
    while job["status"] not in {"succeeded", "failed"}:
        assert time.monotonic() < deadline
        time.sleep(0.3)
        job = curl(f"/fine_tuning/jobs/{job['id']}")
    assert job["status"] == "succeeded", job["error"]
    newest = curl(f"/fine_tuning/jobs/{job['id']}/events?limit=1")
    assert newest["data"][0]["message"] == "The job has successfully completed"
    assert newest["has_more"]
    hello = {"model": job["fine_tuned_model"], "messages": [{"role": "user", "content": "Hi"}]}
    assert post("/chat/completions", hello | {"max_tokens": 4})["usage"]["completion_tokens"] <= 4
    assert curl(f"/models/{job['fine_tuned_model']}", "-X", "DELETE")["deleted"]
    assert post("/chat/completions", hello)["error"]["code"] == "model_not_found"
