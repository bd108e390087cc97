"""What a chat template is given: messages and tools as vLLM passes them on.

Training must see the text that serving will send, so what vLLM 0.32 does to a request before it
renders it (`vllm/renderers/chat_utils.py`, `vllm/renderers/hf.py`) is rebuilt here, down to the
order of keys, which shows where a template prints an object as JSON.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from jinja2 import nodes

from schemas.training_file import (
    AssistantMessage,
    CalledFunction,
    FunctionMessage,
    InstructionMessage,
    Message,
    RefusalPart,
    TextPart,
    Tool,
    ToolMessage,
    UserMessage,
)

ContentFormat = Literal["string", "openai"]
"""How a template wants a message's content: as one text, or as a list of typed parts."""

JsonObject = dict[str, object]

_CALL_ID: Final = "call_function"
"""The id of a deprecated `function_call`, which has none of its own."""


def conversation_for_template(
    messages: Sequence[Message], *, content_format: ContentFormat, knows_developers: bool
) -> list[JsonObject]:
    """Return what the template sees as `messages`."""
    conversation = [_for_template(message, content_format) for message in messages]
    if knows_developers or all(message["role"] != "developer" for message in conversation):
        return conversation
    return _without_developers(conversation)


def tool_for_template(tool: Tool) -> JsonObject:
    """Return what the template sees as one of `tools`."""
    function: JsonObject = {
        "name": tool.function.name,
        "description": tool.function.description,
        "parameters": tool.function.parameters,
    }
    if tool.function.strict is not None:
        function["strict"] = tool.function.strict
    return {"type": "function", "function": function}


def find_content_format(template: nodes.Template) -> ContentFormat:
    """Return `openai` where the template loops over the parts of a message's content.

    vLLM guesses this from the syntax tree, and gives up on loops and assignments whose target is
    more than a name; both are rebuilt, or templates that loop would see other content here.
    """
    try:
        return "openai" if any(_loops_over_parts(template)) else "string"
    except _NotAName:
        return "string"


def _for_template(message: Message, content_format: ContentFormat) -> JsonObject:
    match message:
        case AssistantMessage():
            result = _answer(message, content_format)
        case ToolMessage():
            # vLLM joins a tool's parts also for templates that want lists, empty ones included.
            result = {"role": "tool", "content": _joined(_content(message.content, content_format))}
            result["tool_call_id"] = message.tool_call_id
        case FunctionMessage():
            # Hardly any template knows this role: it becomes the result of the call there was.
            result = {"role": "tool", "content": message.content or "", "tool_call_id": _CALL_ID}
        case InstructionMessage() | UserMessage():
            result = {"role": message.role, "content": _content(message.content, content_format)}
    if message.name is not None:
        result["name"] = message.name
    if message.role == "developer":
        result["tools"] = None
    return result


def _answer(message: AssistantMessage, content_format: ContentFormat) -> JsonObject:
    content = message.refusal if message.content is None else message.content
    result: JsonObject = {"role": "assistant", "content": _content(content, content_format)}
    calls = [(call.id, call.function) for call in message.tool_calls or []]
    if message.function_call is not None:
        calls.append((_CALL_ID, message.function_call))
    if calls:
        result["tool_calls"] = [
            {"id": id, "function": _called(function), "type": "function"} for id, function in calls
        ]
    return result


def _called(function: CalledFunction) -> JsonObject:
    try:
        arguments = json.loads(function.arguments)
    except (ValueError, RecursionError):
        arguments = {}
    return {"arguments": arguments if isinstance(arguments, dict) else {}, "name": function.name}


def _content(
    content: str | Sequence[TextPart | RefusalPart] | None, content_format: ContentFormat
) -> object:
    parts = [content] if isinstance(content, str) else [_text(part) for part in content or []]
    if content_format == "openai":
        return [{"type": "text", "text": part} for part in parts]
    return "\n".join(part for part in parts if part)


def _text(part: TextPart | RefusalPart) -> str:
    return part.text if isinstance(part, TextPart) else part.refusal


def _joined(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(part["text"] for part in content)
    return str(content)


def _without_developers(conversation: Sequence[JsonObject]) -> list[JsonObject]:
    """Make developers' messages system messages, and all of these one message at the front."""
    system: list[JsonObject] = []
    others: list[JsonObject] = []
    for message in conversation:
        if message["role"] in ("system", "developer"):
            kept = {key: value for key, value in message.items() if key != "tools"}
            system.append(kept | {"role": "system"})
        else:
            others.append(message)
    if len(system) == 1 and conversation[0]["role"] in ("system", "developer"):
        return [*system, *others]
    texts = [_joined(message["content"]) for message in system]
    return [{"role": "system", "content": "\n\n".join(text for text in texts if text)}, *others]


class _NotAName(Exception):
    """A target such as `a, b` or `namespace.a`, which vLLM's guess does not follow."""


def _name(target: nodes.Node) -> str:
    if not isinstance(target, nodes.Name):
        raise _NotAName
    return target.name


def _loops_over_parts(template: nodes.Template) -> Iterator[bool]:
    """Yield True for each loop over content, raising `_NotAName` where its target has no name."""
    message_names = _message_names(template)
    in_macro: dict[int, set[str]] = {}
    for macro in template.find_all(nodes.Macro):
        contents = _macro_parameters_with_content(template, macro, message_names)
        for loop in macro.find_all(nodes.For):
            in_macro[id(loop)] = contents or in_macro.get(id(loop), set())
    for loop in template.find_all(nodes.For):
        over = loop.iter
        name = over.name if isinstance(over, nodes.Name) else None
        from_message = any(_reads(over, message, "content") for message in message_names)
        from_macro = name is not None and name in in_macro.get(id(loop), set())
        by_name = name == "content" and id(loop) not in in_macro
        if from_message or from_macro or by_name:
            _name(loop.target)
            yield True


def _message_names(template: nodes.Template) -> list[str]:
    """Return the names of single messages: what loops over `messages`, or its slices, bind."""
    lists = ["messages"]
    for known in lists:  # grows while it is read: a list assigned from a list from `messages`
        for assign in template.find_all(nodes.Assign):
            if _reads(assign.node, known) and _name(assign.target) not in lists:
                lists.append(_name(assign.target))
    return [
        _name(loop.target)
        for loop in template.find_all(nodes.For)
        if any(_reads(loop.iter, known) for known in lists)
    ]


def _macro_parameters_with_content(
    template: nodes.Template, macro: nodes.Macro, message_names: Sequence[str]
) -> set[str]:
    """Return the parameters of a macro that are given a message's content in some call."""

    def is_content(argument: nodes.Node) -> bool:
        return any(_reads(argument, message, "content") for message in message_names)

    parameters = [parameter.name for parameter in macro.args]
    found: set[str] = set()
    for call in template.find_all(nodes.Call):
        if not isinstance(call.node, nodes.Name) or call.node.name != macro.name:
            continue
        by_position = zip(parameters, call.args, strict=False)
        found |= {name for name, argument in by_position if is_content(argument)}
        found |= {kw.key for kw in call.kwargs if kw.key in parameters and is_content(kw.value)}
    return found


def _reads(node: nodes.Node | None, variable: str, key: str | None = None) -> bool:
    """Tell whether an expression is a variable, or one of its fields, filtered or sliced."""
    while isinstance(node, nodes.Filter | nodes.Test) or (
        isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
    ):
        node = node.node
    if key is None:
        return _is_name(node, variable)
    if isinstance(node, nodes.Getattr):
        return node.attr == key and _is_name(node.node, variable)
    if isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Const):
        return node.arg.value == key and _is_name(node.node, variable)
    return False


def _is_name(node: nodes.Node | None, variable: str) -> bool:
    return isinstance(node, nodes.Name) and node.ctx == "load" and node.name == variable
