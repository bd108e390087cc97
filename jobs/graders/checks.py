"""What can be said of a grader before any sample: whether its templates and formula can be read, and who must run it."""

from collections.abc import Iterator

from jobs.graders.formula import FormulaError, parse_formula
from jobs.graders.multi import variable_names
from jobs.graders.templates import TemplateError, parse_template
from schemas.errors import InvalidRequest
from schemas.graders import (
    Grader,
    LabelModelGrader,
    MultiGrader,
    PlainGrader,
    PythonGrader,
    ScoreModelGrader,
    StringCheckGrader,
    TextSimilarityGrader,
)


def plain_graders(grader: Grader) -> Iterator[tuple[str, PlainGrader]]:
    """Yield the grader or, of a multi grader, those within, each with the request's path to it."""
    if not isinstance(grader, MultiGrader):
        yield "grader", grader
    elif isinstance(grader.graders, dict):
        for key, part in grader.graders.items():
            yield f"grader.graders.{key}", part
    elif isinstance(grader.graders, list):
        for index, part in enumerate(grader.graders):
            yield f"grader.graders[{index}]", part
    else:
        yield "grader.graders", grader.graders


def check_runnable(grader: Grader, *, runs_python: bool) -> None:
    """Refuse what could be run for no sample.

    Args:
        grader: Well-formed.
        runs_python: Whether the operator lets programs of clients run.

    Raises:
        InvalidRequest: A template cannot be read, or a program may not run.
    """
    for path, part in plain_graders(grader):
        if isinstance(part, PythonGrader) and not runs_python:
            param = f"{path}.type"
            raise InvalidRequest(
                f"Unsupported value: '{param}' does not support 'python' with this server, which "
                "runs no programs of its clients. Its operator can allow them, in a process without "
                "network and files, by setting RETUNE_PYTHON_GRADERS=on.",
                param=param,
                code="unsupported_value",
            )
        for param, template in _templates(path, part):
            try:
                parse_template(template)
            except TemplateError as exc:
                raise _invalid(param, exc) from exc


def check_formula(grader: Grader) -> None:
    """Refuse a formula that cannot be read or names what is not there.

    Raises:
        InvalidRequest: It does.
    """
    if not isinstance(grader, MultiGrader):
        return
    param = "grader.calculate_output"
    try:
        formula = parse_formula(grader.calculate_output)
    except FormulaError as exc:
        raise _invalid(param, exc) from exc
    names = variable_names(grader)
    if unknown := formula.variables - names.keys():
        known = ", ".join(f"'{name}'" for name in names)
        raise InvalidRequest(
            f"Invalid '{param}': there is no grader '{min(unknown)[:100]}'. "
            f"The formula may use {known}.",
            param=param,
            code="invalid_value",
        )


def _templates(path: str, grader: PlainGrader) -> Iterator[tuple[str, str]]:
    match grader:
        case StringCheckGrader() | TextSimilarityGrader():
            yield f"{path}.input", grader.input
            yield f"{path}.reference", grader.reference
        case ScoreModelGrader() | LabelModelGrader():
            for index, message in enumerate(grader.input):
                yield f"{path}.input[{index}].content", message.text
        case PythonGrader():
            pass


def _invalid(param: str, exc: ValueError) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {exc}.", param=param, code="invalid_value")
