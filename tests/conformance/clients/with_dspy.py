"""DSPy: an LM finetunes itself through its provider; what comes back is an LM that answers."""

from importlib.metadata import version

import dspy
from dspy.clients.utils_finetune import TrainDataFormat
from steps import BASE, EXAMPLES, HYPERPARAMETERS, TRAINING_FILE, step


def main() -> None:
    print(version("dspy"))
    lm = dspy.LM(f"openai/{BASE}", temperature=0, max_tokens=12, cache=False)
    train_data = [{"messages": messages} for messages in EXAMPLES]
    job = lm.finetune(train_data, TrainDataFormat.CHAT, HYPERPARAMETERS)
    tuned = job.result()
    assert isinstance(tuned, dspy.LM), tuned
    assert tuned.model.startswith(f"ft:{BASE}:")
    assert job.status() == "succeeded"
    step("LM.finetune: file, job, newest event, the tuned model")

    provider = lm.provider
    assert provider.does_job_exist(job.provider_job_id)
    assert not provider.does_job_exist("ftjob-none")
    assert provider.does_file_exist(job.provider_file_id)
    assert not provider.does_file_exist("file-none")
    step("does_job_exist, does_file_exist")

    for system, user, trained in (EXAMPLES[0], EXAMPLES[-1]):
        assert tuned(messages=[system, user]) == [trained["content"]]
    step("the tuned LM: what was trained")

    other = provider.TrainingJob(
        model=BASE,
        train_data=train_data,
        train_data_format=TrainDataFormat.CHAT,
        train_kwargs={"n_epochs": 50},
    )
    other.provider_file_id = file_id = provider.upload_data(str(TRAINING_FILE))
    other.provider_job_id = job_id = provider._start_remote_training(file_id, BASE, {})
    other.cancel()
    assert provider.get_training_status(job_id) == "cancelled"
    assert not provider.does_file_exist(file_id)
    step("TrainingJob.cancel: the job is cancelled, its file deleted")


if __name__ == "__main__":
    main()
