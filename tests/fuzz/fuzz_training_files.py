"""Training files: any bytes are examples that a template is shown, or told of line by line."""

import tempfile
from pathlib import Path

from jobs.dataset import MAX_PROBLEMS, examine_file, failure_of, read_examples
from jobs.template_messages import conversation_for_template, tool_for_template
from tests.fuzz.target import fuzz

CODES = {"invalid_n_examples", "invalid_training_file", "invalid_file_format"}


def any_file_is_trained_on_or_told_of(content: bytes) -> None:
    """Check one file."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        path = Path(file.name)
        found = examine_file(path, context_length=64)
        failure = failure_of(found, role="training", file_id="file-1", is_rendered=False)
        n_lines = content.count(b"\n") + 1
        for problem in found.problems:
            assert 1 <= problem.line <= n_lines
            sentence = problem.sentence("file-1")
            assert sentence.isprintable()
            assert len(sentence) < 1000
        assert len(found.problems) <= MAX_PROBLEMS
        if found.problems:
            assert failure
            assert failure.code in CODES
            return
        examples = list(read_examples(path))
    assert len(examples) == found.report.n_examples
    for example in examples:
        for content_format in ("string", "openai"):
            shown = conversation_for_template(
                example.messages, content_format=content_format, knows_developers=False
            )
            assert shown
        for tool in example.offered_tools:
            assert tool_for_template(tool)["type"] == "function"


if __name__ == "__main__":
    fuzz(any_file_is_trained_on_or_told_of)
