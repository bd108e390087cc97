"""What somebody wrote stays text: how templates print it, and how scripts show it."""

import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from jinja2 import nodes

from api.dashboard.pages import _environment
from tests.browser.hostile_texts import SINKS, WRITTEN

TEMPLATES = _environment().list_templates()
SCRIPTS = [
    each for each in (files("api.dashboard") / "static").iterdir() if each.name.endswith(".js")
]
MAKES_HTML = re.compile(
    r"(inner|outer)HTML|insertAdjacentHTML|document\.write|createContextualFragment|setHTMLUnsafe"
    r"|parseHTMLUnsafe|srcdoc|\beval\b|new Function|setTimeout\(\s*[\"'`]"
)


def source(template: str) -> str:
    return _environment().loader.get_source(_environment(), template)[0]


def printed(template: str) -> set[str]:
    """Return the names and fields whose values a template prints, by themselves or in a message."""
    outputs = _environment().parse(source(template)).find_all(nodes.Output)
    return {name for output in outputs for each in output.nodes for name in names_in(each)}


def names_in(node: nodes.Node) -> Iterator[str]:
    if isinstance(node, nodes.Name):
        yield node.name
    elif isinstance(node, nodes.Getattr):
        yield from (f"{name}.{node.attr}" for name in names_in(node.node))
    elif isinstance(node, nodes.Getitem):
        yield from (f"{name}[]" for name in names_in(node.node))
    else:
        for each in node.iter_child_nodes():
            yield from names_in(each)


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_place_that_prints_a_text_is_tried_with_hostile_ones(template):
    """Whatever of a template prints what somebody wrote is in the table that the browser goes through."""
    tried = {sink.expression for sink in SINKS if sink.template == template}
    names = printed(template)
    assert names & WRITTEN <= tried
    assert tried <= names, "the table tells of what is no longer there"


@pytest.mark.parametrize("template", TEMPLATES)
def test_nothing_is_printed_unescaped(template):
    """No template turns escaping off, has a script or style of its own, or prints into a bare attribute."""
    text = source(template)
    assert not re.search(r"\|\s*safe\b|Markup|autoescape", text)
    assert not re.search(
        r"<script(?![^>]*\bsrc=\"\{\{ asset\()|<style|\s(on\w+|style|srcdoc)=", text
    )
    assert not re.search(r"\s[\w-]+=\{\{", text)


@pytest.mark.parametrize("template", TEMPLATES)
def test_no_address_begins_with_what_somebody_wrote(template):
    """Addresses begin with a path of ours, so that none is another scheme's or host's."""
    begins = re.findall(
        r'\s(?:href|src|action|formaction|hx-get|hx-post)="\{\{([^}]*)\}\}', source(template)
    )
    ours = {"asset", "reader.here", "reader.path", "reader.above", "href", "back", "link"}
    assert {each.split("(")[0].split(" if ")[0].strip() for each in begins} <= ours


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_no_script_makes_html_of_text(script):
    """Our scripts show texts by `textContent` and the like alone."""
    assert not MAKES_HTML.search(script.read_text())
