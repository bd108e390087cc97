"""The lines of a job's log, in OpenAI's words; each with the key that keeps it from being told twice."""

import time
from typing import Any

from jobs.store.jobs import NewEvent
from schemas.fine_tuning import Event, EventLevel, JobStatus
from schemas.ids import new_id
from schemas.training import StepDone


def created(job_id: str) -> NewEvent:
    """The first line of every job."""
    return _message("created", f"Created fine-tuning job: {job_id}")


def validating(training_file: str, validation_file: str | None) -> NewEvent:
    """A worker looks at the files."""
    both = "" if validation_file is None else f" and validation file: {validation_file}"
    return _message("validating", f"Validating training file: {training_file}{both}")


def validated() -> NewEvent:
    """The files are good."""
    return _message("validated", "Files validated, moving job to queued state")


def started() -> NewEvent:
    """A worker has the job; told once, however often it is taken up again."""
    return _message("started", "Fine-tuning job started")


def step_done(step: StepDone) -> NewEvent:
    """One optimizer step."""
    message = f"Step {step.step}/{step.total_steps}: training loss={step.train_loss:.2f}"
    data: dict[str, Any] = {
        "step": step.step,
        "train_loss": round(step.train_loss, 5),
        "total_steps": step.total_steps,
        "train_mean_token_accuracy": round(step.train_mean_token_accuracy, 5),
    }
    if step.valid_loss is not None:
        message += f", validation loss={step.valid_loss:.2f}"
    if step.full_valid_loss is not None:
        message += f", full validation loss={step.full_valid_loss:.2f}"
    for name in (
        "valid_loss",
        "valid_mean_token_accuracy",
        "full_valid_loss",
        "full_valid_mean_token_accuracy",
    ):
        value = getattr(step, name)
        if value is not None:
            data[name] = round(value, 5)
    data |= {
        "learning_rate": step.learning_rate,
        "grad_norm": round(step.grad_norm, 5),
        "grad_clipped": step.grad_clipped,
        "tokens": step.tokens,
        "seconds": round(step.seconds, 4),
    }
    return NewEvent(
        dedupe_key=f"step-{step.step}", event=_event(message, type_="metrics", data=data)
    )


def trained(*, tokens_per_second: float, peak_memory_bytes: int | None) -> NewEvent:
    """All steps are taken; how fast, and with how much memory."""
    held = "" if peak_memory_bytes is None else f" in {peak_memory_bytes / 2**30:.2f} GiB of memory"
    return _message(
        "trained",
        f"Trained at {tokens_per_second:,.0f} tokens a second{held}",
        tokens_per_second=round(tokens_per_second, 2),
        peak_memory_bytes=peak_memory_bytes,
    )


def checkpoint_created(step: int, name: str) -> NewEvent:
    """A checkpoint can be asked from now on."""
    return _message(
        f"checkpoint-{step}", f"Checkpoint created at step {step} with Snapshot ID: {name}"
    )


def model_created(name: str) -> NewEvent:
    """The tuned model is proven and has its name."""
    return _message("model", f"New fine-tuned model created: {name}")


def succeeded() -> NewEvent:
    """The last line of a good job."""
    return _message("end", "The job has successfully completed")


def failed(message: str) -> NewEvent:
    """The last line of a job that failed: the words of its `error`."""
    return _message("end", message, level="error")


def cancelled() -> NewEvent:
    """The last line of a cancelled job."""
    return _message("end", "Fine-tuning job cancelled")


def pausing(status: JobStatus) -> NewEvent:
    """The user asked for a pause, and somebody is at work."""
    if status == "validating_files":
        return _anew("Pausing the fine-tuning job as soon as its files are validated")
    return _anew("Pausing the fine-tuning job as soon as its training is saved")


def paused() -> NewEvent:
    """Nobody works on the job any more."""
    return _anew("Fine-tuning job paused")


def resumed() -> NewEvent:
    """The user wants the job to go on."""
    return _anew("Fine-tuning job resumed")


def noted(key: str, message: str, *, level: EventLevel = "info", **data: object) -> NewEvent:
    """Anything else that the user should know; `key` is what it happens once for."""
    return _message(key, message, level=level, **data)


def _anew(message: str) -> NewEvent:
    """Return what may happen any number of times: told each time."""
    event = _event(message, data={})
    return NewEvent(dedupe_key=event.id, event=event)


def _message(key: str, message: str, *, level: EventLevel = "info", **data: object) -> NewEvent:
    return NewEvent(dedupe_key=key, event=_event(message, level=level, data=dict(data)))


def _event(
    message: str,
    *,
    data: dict[str, Any],
    level: EventLevel = "info",
    type_: Any = "message",  # noqa: ANN401 - the Literal is Event's
) -> Event:
    return Event(
        id=new_id("ftevent-"),
        created_at=int(time.time()),
        level=level,
        message=message,
        type=type_,
        data=data,
    )
