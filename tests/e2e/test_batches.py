"""A batch through the real engine: requests of one model, answered by vLLM while nobody waits for them."""

import json
import time

import pytest

from tests.batches import CHAT, jsonl, line

pytestmark = pytest.mark.engine


def test_a_batch_is_answered_as_a_client_would_be(client):
    """At temperature 0 the file's answers are those of live requests; tokens are counted, and the worker left nothing."""
    bodies = [
        {
            "model": "retune-nano",
            "messages": [{"role": "user", "content": f"Say {word}."}],
            "temperature": 0,
            "max_tokens": 8,
        }
        for word in ("one", "two", "three", "four", "five", "six")
    ]
    lines = [line(f"{n}", body=body) for n, body in enumerate(bodies)]
    lines.append(line("too long", body=bodies[0] | {"max_tokens": 1_000_000}))
    file = client.files.create(file=("in.jsonl", jsonl(lines)), purpose="batch")
    batch = client.batches.create(
        input_file_id=file.id, endpoint=CHAT, completion_window="24h", metadata={"from": "tests"}
    )
    deadline = time.monotonic() + 180
    while batch.status not in {"completed", "failed", "expired"}:
        assert time.monotonic() < deadline, batch
        time.sleep(0.2)
        batch = client.batches.retrieve(batch.id)
    assert batch.status == "completed", batch
    assert batch.request_counts.model_dump() == {"total": 7, "completed": 6, "failed": 1}
    answers = {
        result["custom_id"]: result["response"]["body"]
        for result in map(json.loads, client.files.content(batch.output_file_id).text.splitlines())
    }
    live = [client.chat.completions.create(**body) for body in bodies]
    for n, completion in enumerate(live):
        said = answers[f"{n}"]["choices"][0]["message"]["content"]
        assert said == completion.choices[0].message.content
    assert batch.usage.total_tokens == sum(completion.usage.total_tokens for completion in live)
    [refused] = map(json.loads, client.files.content(batch.error_file_id).text.splitlines())
    assert refused["custom_id"] == "too long"
    assert refused["response"]["status_code"] == 400
    assert refused["response"]["body"]["error"]["param"] == "max_tokens"
