"""An example of a job's files as a question whose answer is known, found by its number."""

from asyncio import to_thread
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobs import files, fine_tuning
from jobs.keys import Caller
from jobs.reports.sample import asked_before, last_trained, said_by
from jobs.services import Services
from schemas.base import Schema
from schemas.errors import FileNotFound, InvalidRequest, NotFound
from schemas.report import Said
from schemas.training_file import AssistantMessage, ChatExample


class ExampleQuestion(Schema):
    """A conversation up to its last trained answer, and that answer."""

    job_id: str
    file_id: str
    number: int
    """In the file, from 1, as in a job's report."""
    asked: dict[str, Any]
    """`messages`, and `tools` where the example offers some, as a chat request has them."""
    reference: Said


async def load(services: Services, caller: Caller, job_id: str, number: int) -> ExampleQuestion:
    """Return an example of the job's validation file, or of its training file where it has none.

    Args:
        services: Open.
        caller: Whose job and file they must be.
        job_id: The job's.
        number: Of the example in its file, from 1.

    Raises:
        JobNotFound: There is no such job.
        NotFound: The file was deleted, or has fewer examples.
        InvalidRequest: That line is no example, or has no answer that is learned from.
    """
    job = await fine_tuning.get(services, caller, job_id)
    file_id = job.validation_file or job.training_file
    try:
        _, path = await files.content_path(services, caller, file_id)
        line = await to_thread(_read_line, path, number)
    except (FileNotFound, FileNotFoundError) as exc:
        raise NotFound(f"The file {file_id} of this job was deleted.", param="job") from exc
    if line is None:
        raise NotFound(f"The file {file_id} has fewer than {number} examples.", param="example")
    example = _parse(line, number)
    place = last_trained(example)
    answer = None if place is None else example.messages[place]
    if place is None or not isinstance(answer, AssistantMessage):
        raise InvalidRequest(
            f"Example {number} has no answer that is learned from: all have a weight of 0.",
            param="example",
        )
    return ExampleQuestion(
        job_id=job_id,
        file_id=file_id,
        number=number,
        asked=asked_before(example, place),
        reference=said_by(answer),
    )


def _read_line(path: Path, number: int) -> bytes | None:
    with path.open("rb") as file:
        lines = (line for line in file if line.strip())
        return next(islice(lines, number - 1, None), None)


def _parse(line: bytes, number: int) -> ChatExample:
    try:
        return ChatExample.model_validate_json(line)
    except ValidationError as exc:
        raise InvalidRequest(
            f"Line {number} is no example: the page of the job says what is wrong with its file.",
            param="example",
        ) from exc
