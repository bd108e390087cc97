"""Templates of graders: any text is read or refused, and reading changes nothing."""

from jobs.graders.templates import (
    MAX_RENDERED_CHARACTERS,
    RenderedTooLong,
    TemplateError,
    UnknownVariable,
    parse_template,
    render,
)
from tests.fuzz.target import fuzz

SCOPE = {"item": {"a": [1, {"b": "c"}]}, "sample": {"output_text": "x"}}


def template_keeps_its_word(source: str) -> None:
    """Check one text."""
    try:
        template = parse_template(source)
    except TemplateError:
        assert "{{" in source
        return
    written = "".join(part if isinstance(part, str) else part.source for part in template)
    assert written == source
    try:
        render(template, SCOPE)
    except RenderedTooLong:
        assert len(source) > MAX_RENDERED_CHARACTERS or "{{" in source
    except (UnknownVariable, TemplateError):
        assert "{{" in source


if __name__ == "__main__":
    fuzz(template_keeps_its_word)
