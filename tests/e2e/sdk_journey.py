"""The main job by whatever OpenAI SDK is installed: `python sdk_journey.py BASE_URL KEY TRAIN.jsonl`.

Stands alone, so that an older SDK can run it in an environment of its own. Prints the SDK's version.
"""

import sys
import time

import openai


def main() -> None:
    base_url, key, path = sys.argv[1:]
    client = openai.OpenAI(base_url=base_url, api_key=key)
    with open(path, "rb") as lines:  # noqa: PTH123 - as OpenAI's own examples do
        file = client.files.create(file=lines, purpose="fine-tune")
    assert client.files.wait_for_processing(file.id).status == "processed"
    job = client.fine_tuning.jobs.create(
        model="retune-nano",
        training_file=file.id,
        hyperparameters={"n_epochs": 1, "batch_size": 8},
    )
    while job.status not in {"succeeded", "failed", "cancelled"}:
        time.sleep(0.5)
        job = client.fine_tuning.jobs.retrieve(job.id)
    assert job.status == "succeeded", job.error
    assert job.id in {listed.id for listed in client.fine_tuning.jobs.list()}
    messages = [event.message for event in client.fine_tuning.jobs.list_events(job.id)]
    assert messages[0] == "The job has successfully completed"
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data
    hello = [{"role": "user", "content": "Hello"}]
    whole = client.chat.completions.create(
        model=job.fine_tuned_model, messages=hello, max_tokens=8, temperature=0
    )
    chunks = client.chat.completions.create(
        model=job.fine_tuned_model, messages=hello, max_tokens=8, temperature=0, stream=True
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert streamed == whole.choices[0].message.content
    assert client.models.delete(job.fine_tuned_model).deleted
    assert client.files.delete(file.id).deleted
    print(openai.VERSION)


if __name__ == "__main__":
    main()
