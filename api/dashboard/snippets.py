"""A request for a job as code: what a program sends to have the same. Without a key in it."""

import json
import shlex
from collections.abc import Mapping
from typing import Final

from pydantic import JsonValue

from schemas.fine_tuning_requests import JobCreate

_WIDTH: Final = 80
_INDENT: Final = "    "


def as_curl(request: JobCreate, *, base_url: str) -> str:
    """Return a command for a shell; the key is in its environment.

    Args:
        request: What to send.
        base_url: Ends in `/v1`.
    """
    body = json.dumps(_body(request), ensure_ascii=False, indent=2)
    return "\n".join(
        [
            f"curl {shlex.quote(base_url + '/fine_tuning/jobs')} \\",
            '  -H "Authorization: Bearer $OPENAI_API_KEY" \\',
            "  -H 'content-type: application/json' \\",
            f"  -d {shlex.quote(body)}",
        ]
    )


def as_python(request: JobCreate, *, base_url: str) -> str:
    """Return a script with OpenAI's SDK, which takes the key from the environment; arguments as for `as_curl`."""
    arguments = [
        f"{_INDENT}{name}={_literal(value, depth=1)}," for name, value in _body(request).items()
    ]
    return "\n".join(
        [
            "from openai import OpenAI",
            "",
            f"client = OpenAI(base_url={json.dumps(base_url)})  # the key: OPENAI_API_KEY",
            "job = client.fine_tuning.jobs.create(",
            *arguments,
            ")",
            "print(job.id)",
        ]
    )


def _body(request: JobCreate) -> Mapping[str, JsonValue]:
    body: Mapping[str, JsonValue] = request.model_dump(
        mode="json", exclude_none=True, exclude={"dry_run"}
    )
    return body


def _literal(value: JsonValue, *, depth: int) -> str:
    """Return a value as Python writes it, on one line where it fits."""
    match value:
        case str():
            # JSON's strings are Python's too; repr would choose other quotation marks.
            return json.dumps(value, ensure_ascii=False)
        case dict():
            first, *parts, last = (
                "{",
                *(_pair(*each, depth=depth + 1) for each in value.items()),
                "}",
            )
        case list():
            first, *parts, last = "[", *(_literal(each, depth=depth + 1) for each in value), "]"
        case _:
            return repr(value)
    on_one_line = first + ", ".join(parts) + last
    if len(on_one_line) + depth * len(_INDENT) < _WIDTH and "\n" not in on_one_line:
        return on_one_line
    inner = "".join(f"{_INDENT * (depth + 1)}{part},\n" for part in parts)
    return f"{first}\n{inner}{_INDENT * depth}{last}"


def _pair(key: str, value: JsonValue, *, depth: int) -> str:
    return f"{json.dumps(key)}: {_literal(value, depth=depth)}"
