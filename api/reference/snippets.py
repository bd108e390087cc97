"""How a call is made: with curl, and with OpenAI's SDK."""

import json
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

from pydantic import JsonValue

from api.openapi.examples import PATH_VALUES
from api.openapi.operations import Operation

_ADMIN: Final = "/v1/organization"
_FILES: Final[Mapping[str, str]] = {"file": "train.jsonl", "data": "part-1"}
"""What lies beside the reader, by the form's field."""
_LINE: Final = 60
"""Characters that fit beside the text."""


def curl(method: str, path: str, operation: Operation) -> str:
    """Return a command; it reads `OPENAI_BASE_URL` and a key from the environment."""
    query = f"?{urlencode(operation.query)}" if operation.query else ""
    key = "OPENAI_ADMIN_KEY" if path.startswith(_ADMIN) else "OPENAI_API_KEY"
    lines = [
        f'curl "$OPENAI_BASE_URL{_filled(path)}{query}"',
        f'-H "Authorization: Bearer ${key}"',
    ]
    if operation.file:
        lines += [f"-F {operation.file}=@{_FILES[operation.file]}"]
        lines += [f"-F {name}={value}" for name, value in operation.body.items()]
    elif operation.body:
        lines += ['-H "Content-Type: application/json"', f"-d '{_pretty(operation.body)}'"]
    elif method != "GET":
        lines[0] = lines[0].replace("curl", f"curl -X {method}", 1)
    return " \\\n  ".join(lines)


def python(method: str, path: str, operation: Operation) -> str:
    """Return an expression on `client`, an `openai.OpenAI()`."""
    if operation.sdk is None:
        return _raw(method, path, operation)
    *before, last = re.findall(r"\{(\w+)\}", path) or [None]
    arguments = [] if last is None else [_literal(PATH_VALUES[last])]
    arguments += [
        f"{operation.renamed.get(name, name)}={_literal(PATH_VALUES[name])}"
        for name in before
        if name is not None
    ]
    if operation.file:
        arguments.append(f'{operation.file}=open("{_FILES[operation.file]}", "rb")')
    sent = {**operation.query, **operation.body}
    arguments += [f"{name}={_literal(value)}" for name, value in sent.items()]
    return _called(f"client.{operation.sdk}", arguments)


def _raw(method: str, path: str, operation: Operation) -> str:
    """Return a call of what the SDK has no method for."""
    options: dict[str, JsonValue] = {}
    if operation.query:
        options["params"] = dict(operation.query)
    if path.startswith(_ADMIN):
        options["security"] = {"admin_api_key_auth": True}
    arguments = [_literal(_filled(path)), "cast_to=object"]
    if operation.body:
        arguments.append(f"body={_literal(dict(operation.body))}")
    if options:
        arguments.append(f"options={_literal(options)}")
    return _called(f"client.{method.lower()}", arguments)


def _called(function: str, arguments: list[str]) -> str:
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= _LINE and "\n" not in line:
        return line
    indented = [argument.replace("\n", "\n    ") for argument in arguments]
    return "\n    ".join([f"{function}(", *(f"{argument}," for argument in indented)]) + "\n)"


def _literal(value: JsonValue) -> str:
    """Write a value in Python, broken into lines where it is long."""
    match value:
        case str():
            return json.dumps(value, ensure_ascii=False)
        case dict():
            opening, closing = "{", "}"
            members = [f"{_literal(key)}: {_literal(inner)}" for key, inner in value.items()]
        case list():
            opening, closing = "[", "]"
            members = [_literal(inner) for inner in value]
        case _:
            return repr(value)
    line = f"{opening}{', '.join(members)}{closing}"
    if len(line) <= _LINE - 8:
        return line
    inner = ",\n".join(members).replace("\n", "\n    ")
    return f"{opening}\n    {inner},\n{closing}"


def _pretty(body: Mapping[str, JsonValue]) -> str:
    return json.dumps(body, indent=2, ensure_ascii=False).replace("\n", "\n  ")


def _filled(path: str) -> str:
    """Return a path below `/v1`, with examples for its parameters."""
    return path.removeprefix("/v1").format_map(PATH_VALUES)
