"""`python -m jobs.examination`: looks at files as a job would, in a process of its own.

One `DryRunQuestion` on standard input, one `DryRunAnswer` on standard output. Rendering is work for a processor:
in the API's process, even in a thread, everybody else's requests would wait for it.
"""

import sys
from typing import Final

from jobs.dataset import Examination, Problem, examine_file, failure_of
from jobs.rendering import Renderer
from schemas.dry_run import (
    DryRunAnswer,
    DryRunQuestion,
    FileFindings,
    FileQuestion,
    LengthCount,
    LineProblem,
)
from schemas.errors import JobFailure
from schemas.fine_tuning import JobError

_SHOWN_PROBLEMS: Final = 20
_SHOWN_CHARACTERS: Final = 600
"""Of what is wrong with a line, which may quote the line."""


def answer(question: DryRunQuestion) -> DryRunAnswer:
    """Look at every file with the tokenizer and template that would train.

    Raises:
        JobFailure: The base cannot chat.
    """
    renderer = Renderer.load(question.base_dir)
    return DryRunAnswer(
        files=[
            _findings(
                file,
                examine_file(file.path, context_length=question.context_length, renderer=renderer),
            )
            for file in question.files
        ]
    )


def _findings(file: FileQuestion, found: Examination) -> FileFindings:
    report = found.report
    failure = failure_of(found, role=file.role, file_id=file.id, is_rendered=True)
    return FileFindings(
        id=file.id,
        n_examples=report.n_examples,
        tokens=report.tokens,
        trained_tokens=report.loss_tokens,
        longest_example=report.longest,
        lengths=[
            LengthCount(up_to=bound, n_examples=n_examples)
            for bound, n_examples in report.histogram.items()
        ],
        n_truncated=report.n_truncated,
        n_untrained=report.n_untrained,
        warnings=list(report.warnings),
        problems=[_problem(problem, file.id) for problem in found.problems[:_SHOWN_PROBLEMS]],
        error=None if failure is None else _error(failure),
    )


def _problem(problem: Problem, file_id: str) -> LineProblem:
    message = problem.sentence(file_id)[:_SHOWN_CHARACTERS]
    return LineProblem(line=problem.line, example=problem.example, message=message)


def _error(failure: JobFailure) -> JobError:
    return JobError(code=failure.code, message=failure.message, param=failure.param)


def main() -> None:
    """Answer the question on standard input."""
    question = DryRunQuestion.model_validate_json(sys.stdin.read())
    sys.stdout.write(answer(question).model_dump_json())


if __name__ == "__main__":
    main()
