"""Whether lines are examples beyond doubt, seen in C: says yes, or nothing, never what is wrong.

A decoder of typed structs reads whole stretches of a file five times as fast as `jobs.example_rules`,
whose word stands: what is not plain is looked at there. So this may be narrower than those rules, and
must never be wider; `tests/jobs/test_plain_examples.py` and a fuzzer hold the two against each other.
"""

import re
from functools import lru_cache
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct
from pydantic_core import from_json

_PLAIN_BYTES: Final = 2**14
_PLAIN_BRACKETS: Final = 150
"""Of a function's parameters: with no more of them, whatever they are, they nest less than the 200 levels that
the rules read."""


def count_plain_examples(lines: bytes) -> int | None:
    """Return how many examples lie in whole lines, one in each; None where a closer look is needed.

    Args:
        lines: One or more, with or without the last one's line break.
    """
    if b"\r" in lines:
        lines = lines.replace(b"\r\n", b"\n")
    lines = lines.removesuffix(b"\n")
    n_lines = lines.count(b"\n") + 1
    # A JSON value never holds such a break, so that none goes on in the next line; and NUL, which
    # JSON allows and we do not, can only stand there as an escape.
    if lines.count(b"}\n{") != n_lines - 1 or b"\\u0000" in lines:
        return None
    try:
        examples = _DECODER.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if len(examples) != n_lines or not all(map(_keeps_the_rules, examples)):
        return None
    if _may_hide_parameters(lines, examples):
        return None
    return n_lines


class _Shape(Struct, forbid_unknown_fields=True, gc=False):
    """Part of an example; what each means is told in `schemas.training_file`."""


_Name = Annotated[str, Meta(min_length=1)]


# A tag may be left out where there is no union to choose from, so it is one only there.
class _OnlyText(_Shape):
    type: Literal["text"]
    text: str


class _TextPart(_Shape, tag_field="type", tag="text"):
    text: str


class _RefusalPart(_Shape, tag_field="type", tag="refusal"):
    refusal: str


_Text = str | Annotated[list[_OnlyText], Meta(min_length=1)]
_AnswerText = str | Annotated[list[_TextPart | _RefusalPart], Meta(min_length=1)]


class _CalledFunction(_Shape):
    name: _Name
    arguments: str


class _ToolCall(_Shape):
    id: _Name
    type: Literal["function"]
    function: _CalledFunction


class _Message(_Shape, tag_field="role"):
    pass


class _SystemMessage(_Message, tag="system"):
    content: _Text
    name: str | None = None


class _DeveloperMessage(_SystemMessage, tag="developer"):
    pass


class _UserMessage(_SystemMessage, tag="user"):
    pass


class _AssistantMessage(_Message, tag="assistant"):
    content: _AnswerText | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _CalledFunction | None = None
    audio: None = None
    weight: Literal[0, 1] | None = None


class _ToolMessage(_Message, tag="tool"):
    content: _Text
    tool_call_id: _Name
    name: str | None = None


class _FunctionMessage(_Message, tag="function"):
    content: str | None
    name: str


_NULL: Final = msgspec.Raw(b"null")


class _Function(_Shape):
    name: Annotated[str, Meta(pattern=r"\A[a-zA-Z0-9_-]{1,64}\Z")]
    description: str | None = None
    parameters: msgspec.Raw = _NULL
    """Read by itself: only then can its brackets be counted."""
    strict: bool | None = None


class _Tool(_Shape):
    type: Literal["function"]
    function: _Function


class _Example(_Shape):
    messages: Annotated[
        list[
            _SystemMessage
            | _DeveloperMessage
            | _UserMessage
            | _AssistantMessage
            | _ToolMessage
            | _FunctionMessage
        ],
        Meta(min_length=1),
    ]
    tools: list[_Tool] | None = None
    parallel_tool_calls: bool | None = None
    functions: Annotated[list[_Function], Meta(min_length=1, max_length=128)] | None = None


_NAMED: Final = b'"parameters"'
_LETTER_ESCAPED: Final = re.compile(rb"\\u00(?:6[15dD]|7[0234])")
"""With one of these the name could be written otherwise."""
_DECODER: Final = msgspec.json.Decoder(_Example)
_PARAMETERS: Final = msgspec.json.Decoder(dict[str, object] | None)


def _keeps_the_rules(example: _Example) -> bool:
    """Return whether what must hold between messages holds (`jobs.example_rules`)."""
    ids: set[str] = set()
    has_function_call = False
    for message in example.messages:
        if isinstance(message, _AssistantMessage):
            has_function_call |= message.function_call is not None
            keeps_them = _says_something(message) and _calls_well(message, ids)
        elif isinstance(message, _ToolMessage):
            keeps_them = message.tool_call_id in ids
        else:
            keeps_them = has_function_call or not isinstance(message, _FunctionMessage)
        if not keeps_them:
            return False
    if (example.tools or example.functions) and not all(
        map(_has_plain_parameters, _offered(example))
    ):
        return False
    return isinstance(example.messages[-1], _AssistantMessage)


def _says_something(message: _AssistantMessage) -> bool:
    if message.content is not None:
        return True
    return bool(message.tool_calls or message.function_call or message.refusal)


def _calls_well(message: _AssistantMessage, ids: set[str]) -> bool:
    """Return whether all calls have arguments; add the ids that can be answered."""
    for call in message.tool_calls or ():
        ids.add(call.id)
        if not _has_arguments(call.function):
            return False
    return message.function_call is None or _has_arguments(message.function_call)


def _has_arguments(function: _CalledFunction) -> bool:
    try:
        return isinstance(from_json(function.arguments, allow_inf_nan=False), dict)
    except ValueError:
        return False


def _may_hide_parameters(lines: bytes, examples: list[_Example]) -> bool:
    """Return whether parameters may stand in the lines that nobody has read: of two of one name, the last is kept."""
    if b"\\u00" in lines and _LETTER_ESCAPED.search(lines):
        return True
    n_named = lines.count(_NAMED)
    if not n_named:
        return False
    offered = (function for example in examples for function in _offered(example))
    kept = [bytes(f.parameters) for f in offered if f.parameters is not _NULL]
    return n_named != len(kept) + sum(parameters.count(_NAMED) for parameters in kept)


def _offered(example: _Example) -> list[_Function]:
    return [*(tool.function for tool in example.tools or ()), *(example.functions or ())]


def _has_plain_parameters(function: _Function) -> bool:
    parameters = bytes(function.parameters)
    return len(parameters) <= _PLAIN_BYTES and _are_plain(parameters)


@lru_cache(maxsize=512)  # most examples of a file offer the same tools
def _are_plain(parameters: bytes) -> bool:
    if parameters.count(b"{") + parameters.count(b"[") > _PLAIN_BRACKETS:
        return False
    try:
        _PARAMETERS.decode(parameters)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return True
