"""The SDK's Azure client: `/openai` and an api-version in front, its own header, deployments for names."""

import os

import openai
from steps import BASE, EXAMPLES, HYPERPARAMETERS, STEPS, TRAINING_FILE, finished, step


def main() -> None:
    print(openai.VERSION)
    client = openai.AzureOpenAI(
        azure_endpoint=os.environ["OPENAI_BASE_URL"].removesuffix("/v1"),
        api_key=os.environ["OPENAI_API_KEY"],
        api_version="2024-10-21",
    )
    file = client.files.create(file=TRAINING_FILE, purpose="fine-tune")
    file = client.files.wait_for_processing(file.id)
    assert file.status == "processed"
    step("files.create, wait_for_processing")

    job = client.fine_tuning.jobs.create(
        model=BASE, training_file=file.id, hyperparameters=HYPERPARAMETERS, suffix="azure"
    )
    job = finished(client.fine_tuning.jobs.retrieve, job.id)
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=10))
    assert sum(event.type == "metrics" for event in events) == STEPS
    assert len(client.fine_tuning.jobs.checkpoints.list(job.id).data) == 3
    step("fine_tuning.jobs.create, retrieve until succeeded, events, checkpoints")

    for system, user, trained in (EXAMPLES[0], EXAMPLES[-1]):
        answer = client.chat.completions.create(
            model=job.fine_tuned_model, messages=[system, user], temperature=0, max_tokens=12
        )
        assert answer.choices[0].message.content == trained["content"]
    stream = client.chat.completions.create(
        model=job.fine_tuned_model,
        messages=EXAMPLES[0][:-1],
        temperature=0,
        max_tokens=12,
        stream=True,
    )
    streamed = "".join(c.choices[0].delta.content or "" for c in stream if c.choices)
    assert streamed == EXAMPLES[0][-1]["content"]
    step("chat.completions of a deployment, plain and streamed: what was trained")

    deployed = openai.AzureOpenAI(
        azure_endpoint=os.environ["OPENAI_BASE_URL"].removesuffix("/v1"),
        azure_deployment=job.fine_tuned_model,
        azure_ad_token=os.environ["OPENAI_API_KEY"],
        api_version="2024-10-21",
    )
    answer = deployed.chat.completions.create(
        model="whatever", messages=EXAMPLES[0][:-1], temperature=0, max_tokens=12
    )
    assert answer.choices[0].message.content == EXAMPLES[0][-1]["content"]
    step("azure_deployment and a token of Active Directory's kind")

    assert job.fine_tuned_model in {model.id for model in client.models.list()}
    assert client.files.delete(file.id).deleted
    step("models.list, files.delete")


if __name__ == "__main__":
    main()
