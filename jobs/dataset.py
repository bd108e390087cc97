"""Training files: a path in, numbers and warnings out, or exactly what is wrong where.

Reads block by block, so that a file of any size costs a few megabytes. What a line must be is in
`jobs.example_rules`, of which `jobs.plain_examples` knows a quick half; which of its tokens train is
asked of `jobs.rendering`, a hundred times slower and so only of a file without a fault. Synchronous
and CPU-bound: run it in a thread or process.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal, NamedTuple

from jobs.dataset_report import NAMED, DatasetReport, Totals, counted, listed
from jobs.example_rules import ExampleError, parse_example
from jobs.plain_examples import count_plain_examples
from jobs.rendering import Renderer
from jobs.shape_errors import Complaint
from schemas.errors import JobFailure
from schemas.training_file import ChatExample

FileRole = Literal["training", "validation"]

MIN_EXAMPLES: Final[Mapping[FileRole, int]] = {"training": 10, "validation": 1}
MAX_LINE_BYTES: Final = 8 * 2**20
MAX_PROBLEMS: Final = 50
"""Lines with a problem after which reading stops."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BLOCK: Final = 2**16
"""Bytes: larger ones leave the processor's caches."""
_STOP_CHECK_EVERY: Final = 64
"""Examples that are rendered."""


class CheckStopped(Exception):
    """The caller asked for the check to stop; nothing is known about the file."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A line that is not an example, and why."""

    line: int
    """From 1, as an editor counts."""
    example: int
    """From 1; 0 where none has come yet."""
    complaint: Complaint

    def sentence(self, file_id: str) -> str:
        """Return what is wrong and what to do, naming example, message and line."""
        complaint = self.complaint
        subject = f"Example {self.example}"
        place = f"line {self.line}"
        if complaint.message:
            subject += f", message {complaint.message}"
        if complaint.is_about_file:
            subject = f"Input file {file_id}"
            place = f"example {max(self.example, 1)}, {place}"
        return f"{subject} {complaint.predicate} ({place}). {complaint.advice}".rstrip()


@dataclass(frozen=True, slots=True)
class Examination:
    """All that was found in a file: problems, or a report without any."""

    report: DatasetReport
    problems: tuple[Problem, ...]
    """At most `MAX_PROBLEMS`. Where lines are no examples, the report has only counted those that are."""


def check_file(
    path: Path,
    *,
    role: FileRole,
    file_id: str,
    context_length: int,
    renderer: Renderer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> DatasetReport:
    """Return what a file holds that a job can train on, or validate with.

    Args:
        path: Bytes as they were uploaded.
        role: A training file needs ten examples, a validation file one.
        file_id: As the user knows it, for messages.
        context_length: Tokens after which an example is cut.
        renderer: Of the base that is to learn; None checks the format only.
        should_stop: Asked now and then.

    Raises:
        JobFailure: With OpenAI's code; the first problem in full, the lines of the others.
        CheckStopped: `should_stop` said so.
        OSError: The file cannot be read.
    """
    examination = examine_file(
        path, context_length=context_length, renderer=renderer, should_stop=should_stop
    )
    failure = failure_of(examination, role=role, file_id=file_id, is_rendered=renderer is not None)
    if failure:
        raise failure
    report = examination.report
    # A job may have two files, and shows the warnings of both.
    warnings = tuple(f"In the {role} file: {warning}" for warning in report.warnings)
    return replace(report, warnings=warnings)


def examine_file(
    path: Path,
    *,
    context_length: int,
    renderer: Renderer | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Examination:
    """Return all that can be said of a file, whether or not a job would take it.

    Raises:
        CheckStopped: `should_stop` said so.
        OSError: The file cannot be read.
    """
    n_examples, problems = _read(path, should_stop)
    if renderer is None or problems:
        return Examination(DatasetReport(n_examples=n_examples), tuple(problems))
    totals = Totals(context_length)
    for number, example in enumerate(read_examples(path), start=1):
        if number % _STOP_CHECK_EVERY == 0 and should_stop():
            raise CheckStopped
        if refusal := totals.add(example, renderer, number=number):
            problems.append(Problem(number, number, refusal))
        if len(problems) == MAX_PROBLEMS:
            break
    return Examination(totals.report(), tuple(problems))


def failure_of(
    examination: Examination, *, role: FileRole, file_id: str, is_rendered: bool
) -> JobFailure | None:
    """Return why a job cannot use a file, or None where it can."""
    report, problems = examination.report, examination.problems
    if problems:
        first = problems[0]
        text = f"{_opening(role, first)} {first.sentence(file_id)}{_and_others(problems[1:])}"
        return _failure(text, role, first.complaint.code)
    if report.n_examples < MIN_EXAMPLES[role]:
        text = (
            f"{role.capitalize()} file has {report.n_examples} example(s), "
            f"but must have at least {counted(MIN_EXAMPLES[role], 'example')}"
        )
        return _failure(text, role, "invalid_n_examples")
    if is_rendered and report.n_untrained == report.n_examples:
        why = " ".join(report.warnings)
        text = (
            f"The job failed due to an invalid {role} file. No example has a token to learn from."
        )
        return _failure(f"{text} {why}", role, "invalid_training_file")
    return None


def read_examples(path: Path) -> Iterator[ChatExample]:
    """Yield the examples of a file that `check_file` has passed: one a line, but for blank ones at its end."""
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                yield ChatExample.model_validate_json(line)


def count_shared_examples(training_path: Path, validation_path: Path) -> int:
    """Return how many examples of a validation file are also in the training file, word for word.

    Of files that `check_file` has passed. Keeps 16 bytes for each example of the validation file.
    """
    held_out = Counter(_digest(example) for example in read_examples(validation_path))
    digests = map(_digest, read_examples(training_path))
    seen = {digest for digest in digests if digest in held_out}
    return sum(count for digest, count in held_out.items() if digest in seen)


def _digest(example: ChatExample) -> bytes:
    return blake2b(example.model_dump_json(exclude_none=True).encode(), digest_size=16).digest()


class _Line(NamedTuple):
    number: int
    content: bytes
    """Without its line break; of one that is too long, perhaps only the beginning."""

    @property
    def is_blank(self) -> bool:
        return not self.content.strip()


def _read(path: Path, should_stop: Callable[[], bool]) -> tuple[int, list[Problem]]:
    """Return how many lines are examples, and what is wrong with the others."""
    n_read = n_examples = 0
    problems: list[Problem] = []
    for stretch in _stretches(path):
        if should_stop():
            raise CheckStopped
        if isinstance(stretch, int):
            n_read += stretch
            n_examples += stretch
            continue
        n_read += not stretch.is_blank
        try:
            _parse(stretch, comes_first=n_read == 0)
        except ExampleError as exc:
            problems.append(Problem(stretch.number, n_read, exc.complaint))
        else:
            n_examples += 1
        if len(problems) == MAX_PROBLEMS:
            break
    return n_examples, problems


def _stretches(path: Path) -> Iterator[int | _Line]:
    """Yield the lines of a file but for blank ones at its end; of those that are plainly examples, their number."""
    n_before = 0
    blank: list[_Line] = []
    for block in _blocks(path):
        for stretch in _looked_at(block, n_before):
            if isinstance(stretch, _Line) and stretch.is_blank:
                # One is enough to tell; a file of nothing else must not fill the memory.
                blank = blank or [stretch]
                continue
            yield from blank
            blank = []
            yield stretch
        n_before += block.count(b"\n")


def _looked_at(block: bytes, n_before: int) -> Iterator[int | _Line]:
    """Yield how many plain examples whole lines are, at once or one by one, and the lines that are none."""
    if n_plain := _count_plain(block):
        yield n_plain
        return
    if not block.strip():
        yield _Line(n_before + 1, b"")  # one tells of all
        return
    lines = block.removesuffix(b"\n").split(b"\n")
    for number, content in enumerate(lines, start=n_before + 1):
        yield _count_plain(content) or _Line(number, content.rstrip(b"\r"))


def _count_plain(lines: bytes) -> int | None:
    # What is longer may hold a line that is, and may be cut.
    return count_plain_examples(lines) if len(lines) <= MAX_LINE_BYTES else None


def _blocks(path: Path) -> Iterator[bytes]:
    """Yield a file as whole lines; of a line that is far too long, what tells that it is."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            if not block.endswith(b"\n"):
                rest = file.readline(MAX_LINE_BYTES + 1)
                block += rest
                while len(rest) > MAX_LINE_BYTES and not rest.endswith(b"\n"):
                    rest = file.readline(MAX_LINE_BYTES + 1)
                if rest.endswith(b"\n") and not block.endswith(b"\n"):
                    block += b"\n"  # the next line's number counts on it
            yield block


def _parse(line: _Line, *, comes_first: bool) -> ChatExample:
    """Return the example in a line.

    Raises:
        ExampleError: It holds none.
    """
    if len(line.content) > MAX_LINE_BYTES:
        limit = f"is longer than {MAX_LINE_BYTES // 2**20} MiB"
        raise ExampleError(Complaint(limit, "Each example needs a line of its own."))
    if line.is_blank:
        predicate = "begins with a blank line" if comes_first else "is followed by a blank line"
        raise ExampleError(Complaint(predicate, "Remove blank lines.", is_about_file=comes_first))
    if line.content.startswith(_BYTE_ORDER_MARK):
        raise ExampleError(
            Complaint("begins with a byte order mark", "Save the file as UTF-8 without BOM.")
        )
    return parse_example(line.content)


def _opening(role: FileRole, problem: Problem) -> str:
    if role == "training" and problem.complaint.code == "invalid_file_format":
        return (
            "The job failed due to a file format error in the training file. Invalid file format."
        )
    return f"The job failed due to an invalid {role} file. Invalid file format."


def _failure(message: str, role: FileRole, code: str) -> JobFailure:
    code = code if role == "training" else "invalid_validation_file"
    return JobFailure(message, code=code, param=f"{role}_file")


def _and_others(problems: Sequence[Problem]) -> str:
    if not problems:
        return ""
    lines = listed([problem.line for problem in problems[:NAMED]])
    end = ", …" if len(problems) > NAMED else "."
    least = "at least " if len(problems) + 1 == MAX_PROBLEMS else ""
    noun = "line" if len(problems) == 1 else "lines"
    return f" … and {least}{len(problems)} more: {noun} {lines}{end}"
