"""The chat template of a base, run exactly as transformers runs it, on what vLLM gives it.

Neither library is imported: the Jinja environment is rebuilt from
`transformers/utils/chat_template_utils.py` (5.19), and tests hold the two against each other.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Self

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from jobs.template_messages import (
    ContentFormat,
    JsonObject,
    conversation_for_template,
    find_content_format,
    tool_for_template,
)
from schemas.training_file import Message, Tool

_DEFAULT: Final = "default"
_WITH_TOOLS: Final = "tool_use"
_CLOCK: Final = "strftime_now"
"""The function by which a template asks for the time; there is no other."""

Clock = Callable[[], datetime]


def local_time() -> datetime:
    """Return the time where this process runs, as transformers does for templates."""
    return datetime.now().astimezone()


class TemplateRefused(Exception):
    """The template did not render these messages; the text is its own reason."""


@dataclass(frozen=True)
class _Compiled:
    template: Template
    content_format: ContentFormat
    knows_developers: bool


class ChatTemplate:
    """A base's chat template, or its several by name, with the special tokens they may print.

    Args:
        sources: Jinja source by name; `default` must be there, `tool_use` is taken with tools.
        special_tokens: Such as `{"bos_token": "<s>"}`.
        clock: What a template is told that asks for the time.

    Raises:
        jinja2.TemplateSyntaxError: A source is not Jinja.
    """

    def __init__(
        self,
        sources: Mapping[str, str],
        special_tokens: Mapping[str, str],
        *,
        clock: Clock = local_time,
    ) -> None:
        self._sources = dict(sources)
        self._special_tokens = dict(special_tokens)
        self._compiled = {name: _compile(source, clock) for name, source in sources.items()}

    @classmethod
    def load(cls, base_dir: Path, *, clock: Clock = local_time) -> Self | None:
        """Read the template of a model directory, or return None where it has none.

        `chat_template.jinja` and `additional_chat_templates/*.jinja` win over the `chat_template`
        of `tokenizer_config.json`, which is a string or a list of `{"name", "template"}`.

        Raises:
            OSError, ValueError: A file cannot be read.
            jinja2.TemplateSyntaxError: A template is not Jinja.
        """
        config = read_json_object(base_dir / "tokenizer_config.json")
        sources = _sources_in_files(base_dir) or _sources_in_config(config.get("chat_template"))
        if _DEFAULT not in sources:
            return None
        return cls(sources, read_special_tokens(base_dir), clock=clock)

    @property
    def reads_clock(self) -> bool:
        """Whether it asks for the time: the same messages may render otherwise tomorrow."""
        return any(_CLOCK in source for source in self._sources.values())

    @property
    def digest(self) -> str:
        """SHA-256 of the source, in hexadecimal; of names and sources where there are several."""
        several = len(self._sources) > 1
        text = json.dumps(self._sources, sort_keys=True) if several else self._sources[_DEFAULT]
        return hashlib.sha256(text.encode()).hexdigest()

    def render(
        self, messages: Sequence[Message], tools: Sequence[Tool], *, add_generation_prompt: bool
    ) -> str:
        """Return the text of a conversation.

        Raises:
            TemplateRefused: The template raises, as some do on a system message or on tools.
        """
        name = _WITH_TOOLS if tools and _WITH_TOOLS in self._compiled else _DEFAULT
        compiled = self._compiled[name]
        conversation = conversation_for_template(
            messages,
            content_format=compiled.content_format,
            knows_developers=compiled.knows_developers,
        )
        try:
            return compiled.template.render(
                messages=conversation,
                tools=[tool_for_template(tool) for tool in tools] or None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except TemplateError as exc:
            raise TemplateRefused(exc.message or type(exc).__name__) from exc
        except (
            ArithmeticError,
            AttributeError,
            LookupError,
            RecursionError,
            TypeError,
            ValueError,
        ) as exc:
            # A template is a program: what its author did not think of surfaces as any of these.
            raise TemplateRefused(f"{type(exc).__name__}: {exc}") from exc


def read_json_object(path: Path) -> JsonObject:
    """Return the object in a JSON file; empty where there is no such file.

    Raises:
        ValueError: The file holds something else.
    """
    if not path.is_file():
        return {}
    value = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(value, dict):
        raise ValueError(f"{path.name} does not hold a JSON object")  # noqa: TRY004 - of the file
    return value


def read_special_tokens(base_dir: Path) -> dict[str, str]:
    """Return what a tokenizer's configuration calls `…_token`, as text.

    Raises:
        OSError, ValueError: A file cannot be read.
    """
    config = read_json_object(base_dir / "tokenizer_config.json")
    if "added_tokens_decoder" not in config:  # else transformers ignores the older file, too
        config |= read_json_object(base_dir / "special_tokens_map.json")
    texts = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in config.items()
        if name.endswith("_token")
    }
    return {name: text for name, text in texts.items() if isinstance(text, str)}


def _sources_in_files(base_dir: Path) -> dict[str, str]:
    files = {path.stem: path for path in (base_dir / "additional_chat_templates").glob("*.jinja")}
    if (main := base_dir / "chat_template.jinja").is_file():
        files[_DEFAULT] = main
    return {name: path.read_text(encoding="utf-8") for name, path in files.items()}


def _sources_in_config(value: object) -> dict[str, str]:
    if isinstance(value, str):
        return {_DEFAULT: value}
    entries = value if isinstance(value, list) else []
    return {
        str(entry["name"]): str(entry["template"])
        for entry in entries
        if isinstance(entry, dict) and {"name", "template"} <= entry.keys()
    }


def _compile(source: str, clock: Clock) -> _Compiled:
    def strftime_now(format: str) -> str:
        return clock().strftime(format)

    environment = _environment()
    environment.globals[_CLOCK] = strftime_now
    return _Compiled(
        template=environment.from_string(source),
        content_format=find_content_format(environment.parse(source)),
        knows_developers='"developer"' in source or "'developer'" in source,
    )


class _GenerationTag(Extension):
    """Lets `{% generation %}` … `{% endgeneration %}` mark what the model writes; prints its body."""

    tags = {"generation"}  # noqa: RUF012 - Jinja's own declaration is an instance variable

    def parse(self, parser: Parser) -> nodes.Node:
        """Turn the tag into a call block, so that what its body sets stays inside, as upstream."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_body")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _body(self, caller: Macro) -> str:
        return caller()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, LoopControlExtension]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    return environment


def _tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML; templates are written for plain JSON.
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _raise_exception(message: str) -> None:
    raise TemplateError(message)
