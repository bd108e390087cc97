"""Templates such as `Answer: {{ item.answers[0] }}`: what they may name, and what they become.

A variable is `item` or `sample`, then `.key`, `[0]` or `["any key"]` as often as it takes. There is nothing
else: no filters, no expressions, so that a template can be slow or dangerous in no way.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

MAX_RENDERED_CHARACTERS: Final = 1_000_000
"""A long value that is named often would otherwise unfold into any size."""

_OPENING: Final = "{{"
_VARIABLE: Final = re.compile(
    r"\{\{\s*+(?P<namespace>item|sample)"
    r"(?P<path>(?:\.[\w$-]++|\[[0-9]{1,9}\]|\[\"[^\"]*+\"\]|\['[^']*+'\])*+)\s*+\}\}"
)
"""Possessive throughout: linear in time on any input."""
_STEP: Final = re.compile(
    r"\.(?P<name>[\w$-]++)|\[(?P<index>[0-9]++)\]|\[[\"'](?P<key>.*?)[\"']\]", re.DOTALL
)
_SHOWN_CHARACTERS: Final = 40

Scope = Mapping[str, dict[str, JsonValue]]
"""What each namespace holds."""


class TemplateError(ValueError):
    """The template cannot be read; the text says where and why."""


class RenderedTooLong(TemplateError):
    """The template unfolds into more than `MAX_RENDERED_CHARACTERS`."""


class UnknownVariable(LookupError):
    """There is no value under a name that the template uses."""

    def __init__(self, variable: "Variable") -> None:
        super().__init__(f"'{variable.source}' names nothing")
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Variable:
    """A value's name."""

    namespace: str
    path: tuple[str | int, ...]
    """The keys and indices that lead to it."""
    source: str
    """As it was written."""


Template = tuple[str | Variable, ...]
"""Text and variables, in their order."""


def parse_template(source: str) -> Template:
    """Read a template.

    Raises:
        TemplateError: What follows a `{{` is no variable, or is not closed.
    """
    parts: list[str | Variable] = []
    position = 0
    while (opening := source.find(_OPENING, position)) >= 0:
        found = _VARIABLE.match(source, opening)
        if found is None:
            shown = source[opening : opening + _SHOWN_CHARACTERS]
            raise TemplateError(
                f"expected a variable such as '{{{{ item.answer }}}}' or "
                f"'{{{{ sample.output_text }}}}' at character {opening}, but got '{shown}'"
            )
        parts += [source[position:opening], Variable(found["namespace"], _path(found), found[0])]
        position = found.end()
    parts.append(source[position:])
    return tuple(part for part in parts if part)


def render(template: Template, scope: Scope) -> str:
    """Put in the values: strings as they are, all else as JSON.

    Raises:
        UnknownVariable: The scope lacks one.
        RenderedTooLong: The result would be.
    """
    rendered: list[str] = []
    room = MAX_RENDERED_CHARACTERS
    for part in template:
        rendered.append(part if isinstance(part, str) else _text(_look_up(part, scope)))
        room -= len(rendered[-1])
        if room < 0:
            raise RenderedTooLong(f"it unfolds into more than {MAX_RENDERED_CHARACTERS} characters")
    return "".join(rendered)


def _path(found: re.Match[str]) -> tuple[str | int, ...]:
    return tuple(
        int(step["index"]) if step["index"] else step["name"] or step["key"]
        for step in _STEP.finditer(found["path"])
    )


def _look_up(variable: Variable, scope: Scope) -> JsonValue:
    value: JsonValue = scope[variable.namespace]
    for step in variable.path:
        match step, value:
            case (str(key), dict(members)) if key in members:
                value = members[key]
            case (int(index), list(items)) if index < len(items):
                value = items[index]
            case _:
                raise UnknownVariable(variable)
    return value


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
