"""Templates name values of the item and the sample, and nothing else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.graders.templates import (
    MAX_RENDERED_CHARACTERS,
    RenderedTooLong,
    TemplateError,
    UnknownVariable,
    parse_template,
    render,
)
from tests.fuzz.fuzz_templates import template_keeps_its_word

SCOPE = {
    "item": {"a": "x", "n": 3, "deep": {"list": [{"b": True}, None]}, "a key": "é"},
    "sample": {"output_text": "hi"},
}


@pytest.mark.parametrize(
    ("template", "rendered"),
    [
        ("", ""),
        ("plain } text }} {", "plain } text }} {"),
        ("{{item.a}}", "x"),
        ("{{ item.a }}-{{\n sample.output_text\t}}", "x-hi"),
        ("{{item.n}}", "3"),
        ("{{item.deep.list[0].b}}{{item.deep.list[1]}}", "truenull"),
        ("{{item['a key']}}{{item[\"a key\"]}}", "éé"),
        ("{{item.deep}}", '{"list": [{"b": true}, null]}'),
    ],
)
def test_rendered(template: str, rendered: str) -> None:
    """A variable becomes its value: a string as it is, all else as JSON."""
    assert render(parse_template(template), SCOPE) == rendered


@pytest.mark.parametrize(
    "template",
    [
        "{{", "{{{item.a}}}", "{{}}", "{{ }}", "{{item", "{{item.}}", "{{item[}}", "{{item[-1]}}", "{{item[x]}}", "{{other.a}}",
        "{{items}}", "{{item.a | upper}}", "{{item.a()}}", "{{ 7 * 7 }}", "{{item..a}}", "{{item['a}}",
        "{{item.a}} {{", "{{item[9999999999]}}",
    ],
)  # fmt: skip
def test_unreadable(template: str) -> None:
    """What is no variable is refused, with the place and an example."""
    with pytest.raises(TemplateError, match=r"at character \d+, but got"):
        parse_template(template)


@pytest.mark.parametrize(
    "template",
    ["{{item.b}}", "{{item.a.b}}", "{{item.a[0]}}", "{{item.deep.list[2]}}", "{{item.deep[0]}}",
     "{{sample.output_json}}", "{{item.deep.list.b}}"],
)  # fmt: skip
def test_names_nothing(template: str) -> None:
    """A variable without a value is told apart from a template that cannot be read."""
    with pytest.raises(UnknownVariable, match="names nothing"):
        render(parse_template(template), SCOPE)


def test_unfolding_is_bounded() -> None:
    """A long value that is named often ends at the limit, not at the machine's memory."""
    scope = {"item": {"a": "x" * 10_000}, "sample": {}}
    with pytest.raises(RenderedTooLong, match=str(MAX_RENDERED_CHARACTERS)):
        render(parse_template("{{item.a}}" * 10_000), scope)


@given(st.text() | st.text(alphabet="{}item.sample[]0'\" \n"))
def test_any_text(source: str) -> None:
    """Any text is read, or refused in words; what has no braces stays as it is."""
    template_keeps_its_word(source)


@given(
    st.lists(
        st.integers(0, 5) | st.text(st.characters(exclude_characters="'", codec="utf-8")),
        max_size=5,
    )
)
def test_any_path(path: list[int | str]) -> None:
    """Whatever path leads to a value, a template can follow it."""
    value: object = "found"
    for step in reversed(path):
        value = {step: value} if isinstance(step, str) else [None] * step + [value]
    steps = "".join(f"[{step}]" if isinstance(step, int) else f"['{step}']" for step in path)
    scope = {"item": value, "sample": {}}
    rendered = render(parse_template(f"{{{{ item{steps} }}}}"), json.loads(json.dumps(scope)))
    assert rendered == "found"
