"""What makes a line of a training file an example, and how a user is told where it is not.

Pure: bytes of one line in, a `ChatExample` or an `ExampleError` out. The sentences follow those
that OpenAI's jobs failed with (`Example 1 contains an extra "weight"`), and go on to say what to do.
"""

import re
from typing import Final, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, from_json

from jobs.shape_errors import ADVICE, Complaint, complaint_about, kind_of, quoted
from schemas.training_file import AssistantMessage, CalledFunction, ChatExample, ToolMessage


class ExampleError(ValueError):
    """A line is not an example that can be trained on."""

    def __init__(self, complaint: Complaint) -> None:
        super().__init__(complaint.predicate)
        self.complaint = complaint


def parse_example(line: bytes) -> ChatExample:
    """Return the example in a line of a training file.

    Raises:
        ExampleError: The first thing that is wrong with it.
    """
    try:
        example = ChatExample.model_validate_json(line)
    except ValidationError as exc:
        raise ExampleError(_complaint(line, exc.errors(include_url=False)[0])) from None
    complaint = _unprintable(line) or _first_broken_rule(example)
    if complaint:
        raise ExampleError(complaint)
    return example


def _complaint(line: bytes, error: ErrorDetails) -> Complaint:
    if error["type"] == "json_invalid":
        return _about_json(line, str(error["ctx"]["error"]))
    if not isinstance(value := from_json(line), dict):
        return Complaint(
            f"is not a JSON object but {kind_of(value)}",
            'Write one object like {"messages": [...]} on each line.',
        )
    if "messages" not in value and (other := _other_format(frozenset(value))):
        return other
    return complaint_about(error)


# What the line holds instead of one JSON object


def _about_json(line: bytes, error: str) -> Complaint:
    try:
        text = line.decode()
    except UnicodeDecodeError as exc:
        return Complaint(
            f"is not UTF-8: byte 0x{line[exc.start]:02x} at column {exc.start + 1}",
            _encoding_advice(line),
        )
    signs = (sign for sign in _SIGNS if sign.pattern.search(text) or sign.pattern.search(error))
    sign = next(signs, None)
    return Complaint(f"is not valid JSON: {_in_line(error)}", sign.advice if sign else _ONE_OBJECT)


def _in_line(error: object) -> str:
    """Return the parser's words without its line: there is only one, and the file's is told."""
    return str(error).replace(" at line 1 column ", " at column ")


_ONE_OBJECT: Final = 'Each line must hold one JSON object like {"messages": [...]}.'


class _Sign(NamedTuple):
    """Something in a line, or in the parser's words about it, and what it means."""

    pattern: re.Pattern[str]
    advice: str


_SIGNS: Final = (
    _Sign(
        re.compile(r"surrogate|hex escape"),
        "An escape like \\ud83d is half a character: write the text itself, in UTF-8.",
    ),
    _Sign(re.compile("recursion limit"), "It is nested more than 200 levels deep."),
    _Sign(
        re.compile(r"\A\s*\["),
        "The file looks like one JSON array: write each of its objects on its own line, no commas.",
    ),
    _Sign(
        re.compile(r"\A\s*\{?\s*\Z"),
        "The object goes on in the next line: write it on one line, without indentation.",
    ),
    _Sign(
        re.compile(r"\A\s*\{\s*'"),
        "Names and texts stand in double quotes; in Python, write lines with json.dumps.",
    ),
    _Sign(
        re.compile("control character"),
        "A line break or tab inside a text is written as \\n or \\t.",
    ),
    _Sign(
        re.compile("trailing characters"),
        "There is something after the object: each object needs a line of its own.",
    ),
    _Sign(
        re.compile("EOF while parsing"),
        "The line ends before the object does: a line break inside it, or a file cut off.",
    ),
)
"""The first that fits is told."""


def _encoding_advice(line: bytes) -> str:
    if line.startswith(b"\x1f\x8b"):
        return "The file is compressed: upload it as it was before gzip."
    if line.startswith(b"PK\x03\x04"):
        return "The file is a zip archive or a spreadsheet: save it as JSON Lines."
    if line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\x00" in line:
        return "The file looks like UTF-16: save it as UTF-8."
    return "Save the file as UTF-8."


def _unprintable(line: bytes) -> Complaint | None:
    """Return what JSON's grammar or pydantic lets through, but no template and no model should see."""
    if not _SUSPICIOUS.search(line):
        return None
    pending: list[object] = [from_json(line)]
    while pending:
        match pending.pop():
            case dict() as value:
                pending.extend([*value.keys(), *value.values()])
            case list() as value:
                pending.extend(value)
            case float() as value if value - value != 0:  # NaN and the infinities
                return Complaint(
                    "holds a number that is not finite",
                    "JSON has no NaN or Infinity: write null, or leave the key out.",
                )
            case str() as value if "\0" in value:
                return Complaint("holds the character \\u0000", "Remove it from the text.")
    return None


_SUSPICIOUS: Final = re.compile(rb"\\u0000|NaN|Infinity|\d[eE]\+?\d{3}|\d{300}")


# Files of another kind


def _other_format(keys: frozenset[str]) -> Complaint | None:
    for known in _OTHER_FORMATS:
        if known.keys <= keys:
            is_dpo = "preferred_output" in known.keys
            expectation = _NOT_DPO if is_dpo else ", expected chat messages"
            return Complaint(f"is in {known.name}{expectation}", known.advice, is_about_file=True)
    return None


_NOT_DPO: Final = (
    ", but the specified fine-tuning job is not using 'dpo' as the training method "
    "(provided method=supervised)"
)


class _Format(NamedTuple):
    """Another format of training data, known by its keys."""

    keys: frozenset[str]
    name: str
    advice: str


_OTHER_FORMATS: Final = (
    _Format(
        frozenset({"input", "preferred_output", "non_preferred_output"}),
        "the fine-tune-preference format",
        "For supervised training, each line is one conversation, ending with the preferred answer.",
    ),
    _Format(
        frozenset({"chosen", "rejected"}),
        "a prompt/chosen/rejected format",
        'Write {"messages": [...]} with the chosen answer as the last message.',
    ),
    _Format(
        frozenset({"prompt", "completion"}),
        "the prompt/completion format",
        "In \"messages\", write the prompt as a user's message, the completion as the assistant's.",
    ),
    _Format(
        frozenset({"conversations"}),
        "the ShareGPT format",
        'Write "messages" for "conversations", "role" for "from", "content" for "value", "user" for '
        '"human" and "assistant" for "gpt".',
    ),
    _Format(
        frozenset({"instruction", "output"}),
        "the Alpaca format",
        'In "messages", write instruction and input as a user\'s message, the output as the '
        "assistant's.",
    ),
    _Format(
        frozenset({"custom_id", "body"}),
        "the format of a batch",
        "Take the messages of each request's body, and add the answer.",
    ),
    _Format(
        frozenset({"text"}),
        "a plain text format",
        'Write {"messages": [...]} with the text divided into questions and answers.',
    ),
)


# What must hold between messages


def _first_broken_rule(example: ChatExample) -> Complaint | None:
    return next(filter(None, (rule(example) for rule in _RULES)), None)


def _has_an_answer(example: ChatExample) -> Complaint | None:
    if any(message.role == "assistant" for message in example.messages):
        return None
    return Complaint(
        "has no assistant message", "There is nothing to learn: add the answer as the last message."
    )


def _ends_with_an_answer(example: ChatExample) -> Complaint | None:
    last = example.messages[-1]
    if last.role == "assistant":
        return None
    return Complaint(
        f"must end with an assistant message, but message {len(example.messages)} is from {last.role}",
        "Add the answer, or remove what comes after the last one.",
    )


def _answers_say_something(example: ChatExample) -> Complaint | None:
    for number, message in enumerate(example.messages, start=1):
        if isinstance(message, AssistantMessage) and not (
            message.content is not None
            or message.tool_calls
            or message.function_call
            or message.refusal
        ):
            return Complaint(
                "has neither content nor tool_calls",
                "An assistant's content may be null only beside tool_calls.",
                message=number,
            )
    return None


def _calls_have_arguments(example: ChatExample) -> Complaint | None:
    for number, message in enumerate(example.messages, start=1):
        for path, function in _called(message) if isinstance(message, AssistantMessage) else ():
            if problem := _not_an_object(function.arguments):
                return Complaint(f"has {path} {problem}", ADVICE["arguments"], message=number)
    return None


def _called(message: AssistantMessage) -> list[tuple[str, CalledFunction]]:
    """Return the functions that an answer calls, and the path of each one's arguments."""
    calls = [
        (f"tool_calls[{index}].function.arguments", call.function)
        for index, call in enumerate(message.tool_calls or [])
    ]
    if message.function_call:
        calls.append(("function_call.arguments", message.function_call))
    return calls


def _not_an_object(arguments: str) -> str | None:
    try:
        value = from_json(arguments, allow_inf_nan=False)
    except ValueError as exc:
        return f"that are not JSON ({_in_line(exc)})"
    return None if isinstance(value, dict) else f"that hold {kind_of(value)}, expected an object"


def _results_have_calls(example: ChatExample) -> Complaint | None:
    ids: set[str] = set()
    has_function_call = False
    for number, message in enumerate(example.messages, start=1):
        if isinstance(message, AssistantMessage):
            ids |= {call.id for call in message.tool_calls or []}
            has_function_call |= message.function_call is not None
        elif isinstance(message, ToolMessage) and message.tool_call_id not in ids:
            return Complaint(
                f"answers the tool_call_id {quoted(message.tool_call_id)}, which no earlier "
                "assistant message calls",
                ADVICE["tool_call_id"],
                message=number,
            )
        elif message.role == "function" and not has_function_call:
            return Complaint(
                "is from a function that no earlier assistant message calls",
                "Put the assistant message with the function_call before it.",
                message=number,
            )
    return None


_RULES: Final = (
    _has_an_answer,
    _ends_with_an_answer,
    _answers_say_something,
    _calls_have_arguments,
    _results_have_calls,
)
"""Checked in this order; the first broken one is told."""
