"""LiteLLM: files, jobs, batches and completions, each by its module-level function."""

import io
import json
from importlib.metadata import version

import litellm
from steps import BASE, CODES, EXAMPLES, HYPERPARAMETERS, TRAINING_FILE, finished, step, until


def main() -> None:
    print(version("litellm"))
    litellm.suppress_debug_info = True
    file = litellm.create_file(
        file=TRAINING_FILE.open("rb"), purpose="fine-tune", custom_llm_provider="openai"
    )
    content = litellm.file_content(file_id=file.id, custom_llm_provider="openai")
    assert content.content == TRAINING_FILE.read_bytes()
    assert file.id in {f.id for f in litellm.file_list(custom_llm_provider="openai")}
    step("create_file, file_content, file_list")

    job = litellm.create_fine_tuning_job(
        model=BASE, training_file=file.id, hyperparameters=HYPERPARAMETERS, suffix="litellm"
    )
    assert job.status == "validating_files"
    job = finished(litellm.retrieve_fine_tuning_job, job.id)
    assert job.organization_id
    assert job.hyperparameters.n_epochs == 5
    step("create_fine_tuning_job, retrieve_fine_tuning_job until succeeded")

    cancelled = litellm.create_fine_tuning_job(model=BASE, training_file=file.id)
    cancelled = litellm.cancel_fine_tuning_job(fine_tuning_job_id=cancelled.id)
    assert cancelled.status == "cancelled"
    newest = litellm.list_fine_tuning_jobs(limit=2).data
    assert [j.id for j in newest] == [cancelled.id, job.id]
    step("cancel_fine_tuning_job, list_fine_tuning_jobs")

    ask(f"openai/{job.fine_tuned_model}")
    batch(job.fine_tuned_model)
    assert litellm.file_delete(file_id=file.id, custom_llm_provider="openai").deleted
    step("file_delete")


def ask(model: str) -> None:
    """Completions of both kinds, and what is not there."""
    for system, user, trained in (EXAMPLES[0], EXAMPLES[-1]):
        request = {"model": model, "messages": [system, user], "temperature": 0, "max_tokens": 12}
        whole = litellm.completion(**request)
        assert whole.choices[0].message.content == trained["content"]
        assert whole.usage.completion_tokens > 0
        chunks = list(litellm.completion(**request, stream=True))
        assert litellm.stream_chunk_builder(chunks).choices[0].message.content == trained["content"]
    step("completion plain and streamed: what was trained")
    text = litellm.text_completion(
        model=f"text-completion-openai/{BASE}",
        prompt=["Hello", "Good"],
        temperature=0,
        max_tokens=4,
    )
    assert [choice.index for choice in text.choices] == [0, 1]
    assert text.usage.prompt_tokens > 0
    step("text_completion")
    try:
        litellm.embedding(model=model, input=["Hello"])
    except litellm.BadRequestError:
        step("embedding: a BadRequestError")


def batch(model: str) -> None:
    """Every trained question, answered when there is room."""
    lines = [
        {
            "custom_id": str(n),
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": model, "messages": m[:-1], "temperature": 0, "max_tokens": 12},
        }
        for n, m in enumerate(EXAMPLES)
    ]
    text = "\n".join(map(json.dumps, lines)).encode()
    file = litellm.create_file(
        file=("batch.jsonl", io.BytesIO(text)), purpose="batch", custom_llm_provider="openai"
    )
    made = litellm.create_batch(
        completion_window="24h", endpoint="/v1/chat/completions", input_file_id=file.id
    )

    def completed():
        found = litellm.retrieve_batch(batch_id=made.id)
        assert found.status not in {"failed", "expired", "cancelled"}, found
        return found if found.status == "completed" else None

    done = until(completed)
    assert done.request_counts.completed == len(EXAMPLES)
    output = litellm.file_content(file_id=done.output_file_id, custom_llm_provider="openai").text
    answers = [
        json.loads(line)["response"]["body"]["choices"][0]["message"]["content"]
        for line in output.splitlines()
    ]
    assert set(answers) == CODES
    step("create_batch, retrieve_batch, the output file")


if __name__ == "__main__":
    main()
