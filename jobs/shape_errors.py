"""What is wrong with the shape of an example, in a user's words instead of pydantic's.

The sentences follow those that OpenAI's jobs failed with, and go on to say what to do.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from pydantic_core import ErrorDetails

FailureCode = Literal["invalid_training_file", "invalid_file_format"]
"""OpenAI's words: the second for keys that are missing or too many."""

_SHOWN_CHARACTERS: Final = 40
"""Of what a message quotes."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """One thing that is wrong, as a sentence without its subject."""

    predicate: str
    """Such as `contains an extra "weight"`; follows `Example 1, message 2`."""
    advice: str = ""
    """What to do, as sentences of their own."""
    message: int | None = None
    """The message at fault, from 1."""
    code: FailureCode = "invalid_training_file"
    is_about_file: bool = False
    """Whether the whole file is of another kind; the subject is then the file."""


def kind_of(value: object) -> str:
    """Return what a JSON value is, as OpenAI's errors name types."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def quoted(value: object, limit: int = _SHOWN_CHARACTERS) -> str:
    """Return a value as a message may quote it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}…"


def complaint_about(error: ErrorDetails) -> Complaint:
    """Return what one of pydantic's errors on a `ChatExample` means."""
    place = error["loc"]
    message: int | None = None
    if len(place) > 1 and place[0] == "messages" and isinstance(place[1], int):
        message = place[1] + 1
        place = place[3:]  # without the role, which pydantic puts there
    path = _path(place)
    sentence = _SENTENCES.get(error["type"], _any_error)
    code: FailureCode = "invalid_training_file"
    if error["type"] in ("missing", "extra_forbidden"):
        code = "invalid_file_format"
    predicate, advice = sentence(path, error)
    return Complaint(predicate, advice, message=message, code=code)


def _path(place: tuple[int | str, ...]) -> str:
    """Return where in an example or message: `tool_calls[0].function.arguments`."""
    steps = [step for step in place if step not in ("string", "array")]
    if steps[:1] == ["content"] and len(steps) > 3:
        del steps[2]  # the kind of a part of an answer
    path = ""
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{_shown(step)}"
    return path.removeprefix(".")


def _shown(key: str) -> str:
    """Return a key as a message may hold it: one too many is of any length, and of any characters."""
    text = repr(key[:_SHOWN_CHARACTERS])[1:-1]
    return text if len(key) <= _SHOWN_CHARACTERS else f"{text}…"


def _owner_and_key(path: str) -> tuple[str, str]:
    owner, _, key = path.rpartition(".")
    return f" in {owner}" if owner else "", key


def _missing(path: str, _: ErrorDetails) -> tuple[str, str]:
    owner, key = _owner_and_key(path)
    return f'is missing key "{key}"{owner}', ADVICE.get(key, "")


def _extra(path: str, _: ErrorDetails) -> tuple[str, str]:
    owner, key = _owner_and_key(path)
    advice = _EXTRA_ADVICE.get(key, "Remove it.")
    return f'contains an extra "{key}"{owner}', advice


def _no_tag(path: str, error: ErrorDetails) -> tuple[str, str]:
    if not path:
        return "Discriminator 'role' is missing in value", ADVICE["role"]
    return _wrong_type(path, error)


def _unknown_tag(path: str, error: ErrorDetails) -> tuple[str, str]:
    tag = error["ctx"]["tag"]
    if path:
        return _unknown_part(path, str(tag))
    known = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant"}
    hint = f'Write "{known[tag]}". ' if tag in known else ""
    return f"has the unknown role {quoted(tag)}", hint + ADVICE["role"]


def _wrong_literal(path: str, error: ErrorDetails) -> tuple[str, str]:
    if path.startswith("content["):
        return _unknown_part(path, str(error["input"]))
    return f"has {path} {quoted(error['input'])}, expected {error['ctx']['expected']}", ""


def _unknown_part(path: str, kind: str) -> tuple[str, str]:
    what = {"image_url": "an image", "input_audio": "audio", "file": "a file"}.get(kind)
    where = path.removesuffix(".type")
    if what:
        return f"has {what} in {where}", "This base model reads text only: leave the example out."
    return f"has a part of the unknown type {quoted(kind)} in {where}", ADVICE["content"]


def _wrong_type(path: str, error: ErrorDetails) -> tuple[str, str]:
    expected = {
        "string_type": "a string",
        "list_type": "an array",
        "dict_type": "an object",
        "model_type": "an object",
        "model_attributes_type": "an object",
        "bool_type": "true or false",
        "none_required": "null",
    }.get(error["type"], "a string or an array of text parts")
    found = kind_of(error["input"])
    fault = f"has {found} as {path}" if path else f"is {found}"
    key = path.rpartition(".")[2]
    return f"{fault}, expected {expected}", ADVICE.get(key, "")


def _wrong_weight(path: str, error: ErrorDetails) -> tuple[str, str]:
    return f"has {path} {quoted(error['input'])}, expected 0 or 1", ADVICE["weight"]


def _wrong_length(path: str, error: ErrorDetails) -> tuple[str, str]:
    if error["type"] == "too_long":
        return f"has more than {error['ctx']['max_length']} items in {path}", ""
    kind = "string" if error["type"] == "string_too_short" else "array"
    return f"has an empty {kind} in {path}", ""


def _wrong_name(path: str, error: ErrorDetails) -> tuple[str, str]:
    return (
        f"has {path} {quoted(error['input'])}",
        "A function's name is 1 to 64 letters, digits, underscores or dashes.",
    )


def _any_error(path: str, error: ErrorDetails) -> tuple[str, str]:
    return f"has {path or 'something'} that is not valid: {error['msg']}", ""


_SENTENCES: Final[dict[str, Callable[[str, ErrorDetails], tuple[str, str]]]] = {
    "missing": _missing,
    "extra_forbidden": _extra,
    "union_tag_not_found": _no_tag,
    "union_tag_invalid": _unknown_tag,
    "literal_error": _wrong_literal,
    "string_type": _wrong_type,
    "list_type": _wrong_type,
    "dict_type": _wrong_type,
    "model_type": _wrong_type,
    "model_attributes_type": _wrong_type,
    "bool_type": _wrong_type,
    "none_required": _wrong_type,
    "int_type": _wrong_weight,
    "greater_than_equal": _wrong_weight,
    "less_than_equal": _wrong_weight,
    "too_short": _wrong_length,
    "too_long": _wrong_length,
    "string_too_short": _wrong_length,
    "string_pattern_mismatch": _wrong_name,
}
"""How each of pydantic's error types is told; the only integer in an example is `weight`."""

ADVICE: Final = {
    "messages": 'Each line is one object like {"messages": [...]}.',
    "role": 'Give each message a "role": system, user, assistant or tool.',
    "content": 'A content is a string, or an array of {"type": "text", "text": "..."}.',
    "arguments": "Write the arguments as a string that holds a JSON object: in Python, "
    "json.dumps(arguments).",
    "tool_call_id": "A tool's message repeats the id of the call that it answers.",
    "weight": "0 leaves an assistant message out of the loss, 1 trains it.",
}
"""What to do about a key, wherever it stands."""

_EXTRA_ADVICE: Final = {
    "weight": "Only assistant messages take a weight: set it to 0 on those not to learn from.",
    "from": 'Write "role" instead.',
    "value": 'Write "content" instead.',
    "tool_calls": "Only assistant messages call tools.",
}
