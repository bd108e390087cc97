"""What the model sees of a job's training file, for those who ask the API."""

import asyncio
from typing import Final

from jobs.graders.children import ChildFailed
from jobs.keys import Caller
from jobs.services import Services
from schemas.errors import InvalidRequest, LimitReached
from schemas.seen_examples import SeenAnswer, SeenExamples, SeenQuestion

_SECONDS: Final = 30.0
_PATIENCE: Final = 60.0
"""Seconds, with the wait for a turn."""


async def seen_examples(services: Services, caller: Caller, job_id: str) -> SeenExamples:
    """Return the first examples that a job trains on, with the tokens marked that it learns from.

    Raises:
        MissingScope: The caller may not read files.
        JobNotFound: There is no such job.
        FileNotFound: Its training file was deleted.
        InvalidRequest: Its base is not offered any more, or the file cannot be rendered.
        LimitReached: Too many ask at once.
    """
    caller.ensure_may("api.files.read")  # it is the file that is shown
    record = await services.store.jobs.get(job_id, project_id=caller.project_id)
    file_id = record.job.training_file
    await services.store.files.get(file_id, project_id=caller.project_id)
    base = services.catalog.get(record.base)
    question = SeenQuestion(
        base_dir=base.directory,
        context_length=base.context_length,
        path=services.blobs.file_path(file_id),
    )
    answer = await _ask(services, question)
    return SeenExamples(training_file=file_id, model=base.name, data=answer.data)


async def _ask(services: Services, question: SeenQuestion) -> SeenAnswer:
    asked = question.model_dump_json().encode()
    try:
        async with asyncio.timeout(_PATIENCE):
            answer = await services.dry_run_children.ask("jobs.seeing", asked, seconds=_SECONDS)
    except TimeoutError as exc:
        raise LimitReached(
            "Too many look at files at once. Try again when the others have ended.",
            code="rate_limit_exceeded",
        ) from exc
    except ChildFailed as exc:
        raise InvalidRequest(
            "The training file's first examples could not be shown with this base model. The job's "
            "events say what is wrong with the file.",
            param="training_file",
        ) from exc
    return SeenAnswer.model_validate_json(answer)
