"""OpenAI's published description: which operation an answer belongs to, and where it differs from its schema.

`RETUNE_OPENAPI` names the file; it is not part of this repository. Differences that we mean are listed, each with
its reason, in `tests/conformance/schema_deviations.toml`.
"""

import json
import os
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import NamedTuple

import httpx
import jsonschema
import yaml

DEVIATIONS = Path(__file__).parents[1] / "conformance" / "schema_deviations.toml"
EVENTS = "text/event-stream"
JSON = "application/json"
EVENTS_AS_IN = {"getResponse": "createResponse", "createCompletion": "createCompletion"}
"""Operations that can be asked to stream, and whose events the description leaves out."""


class Operation(NamedTuple):
    """Something that can be asked."""

    method: str
    path: str
    id: str
    schemas: dict[str, dict]
    """Of a success, by media type."""


class Difference(NamedTuple):
    """What of an answer is not as it is described."""

    operation: str
    at: str
    """The place in the object, or in each object of a list: `error.message`, `choices[].index`."""
    rule: str
    """The schema's keyword that is broken, such as `enum`; `content` where no such answer is described."""
    message: str


@dataclass
class Deviation:
    """A listed difference."""

    operations: str
    """Their ids; `*` for any text."""
    at: list[str]
    rule: str
    right: str
    reason: str
    seen: set[str] = field(default_factory=set)
    """Of `at`, where it was found."""

    def covers(self, difference: Difference) -> bool:
        """Whether a difference is this one."""
        return (
            fnmatchcase(difference.operation, self.operations)
            and difference.at in self.at
            and difference.rule == self.rule
        )


@cache
def description() -> dict:
    """The document, 840 kB: read once."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(Path(os.environ["RETUNE_OPENAPI"]).read_bytes(), loader)  # noqa: S506 - a safe one


@cache
def operations() -> list[Operation]:
    """Every operation, those at fixed paths first."""
    found = []
    for path, methods in description()["paths"].items():
        for method in methods.keys() & {"get", "post", "delete"}:
            operation = methods[method]
            success = next(operation["responses"][code] for code in sorted(operation["responses"]))
            schemas = {kind: told["schema"] for kind, told in success.get("content", {}).items()}
            found.append(Operation(method.upper(), path, operation["operationId"], schemas))
    return sorted(found, key=lambda operation: operation.path.count("{"))


def find_operation(method: str, path: str) -> Operation | None:
    """Return what a request asks for, by its path as it was sent; None where OpenAI describes no such thing."""
    bare = re.sub(r"^(/openai)?(/deployments/.+?(?=/(chat|embed|comp)))?(/v1)?(?=/)", "", path)
    for operation in operations():
        form = re.sub(r"\\{\w+\\}", "[^/]+", re.escape(operation.path))
        if operation.method == method and re.fullmatch(form, bare):
            return operation
    return None


def named(schema: str) -> dict:
    """Refer to one of the description's schemas."""
    return {"$ref": f"#/components/schemas/{schema}"}


def errors_of(value: object, schema: dict) -> list[jsonschema.ValidationError]:
    """Return what of a value is not as a schema says."""
    whole = schema | {"components": description()["components"]}
    return list(jsonschema.Draft202012Validator(whole).iter_errors(value))


def differences(response: httpx.Response) -> Iterator[Difference]:
    """Yield what of a success differs; its body must have been read."""
    path = response.request.url.raw_path.decode().partition("?")[0]
    operation = find_operation(response.request.method, path)
    if operation is None:
        return
    for value, schema in told(response, operation):
        if schema is None:
            yield Difference(operation.id, "", "content", f"{kind_of(response)} is not described")
            continue
        for error in errors_of(value, schema):
            at = re.sub(r"\[\d+\]", "[]", error.json_path).removeprefix("$").removeprefix(".")
            at = at.removeprefix("data[].")
            yield Difference(operation.id, at, str(error.validator), error.message[:300])


def told(response: httpx.Response, operation: Operation) -> Iterator[tuple[object, dict | None]]:
    """Yield each JSON value of an answer and its schema; None where there is none."""
    kind = kind_of(response)
    if kind == EVENTS:
        schema = operation.schemas.get(EVENTS)
        if operation.id in EVENTS_AS_IN:
            same = next(o for o in operations() if o.id == EVENTS_AS_IN[operation.id])
            schema = same.schemas.get(EVENTS) or same.schemas[JSON]
        for line in response.text.splitlines():
            if line.startswith("data: ") and line != "data: [DONE]":
                yield json.loads(line.removeprefix("data: ")), schema
    elif kind == JSON:
        yield response.json(), operation.schemas.get(JSON)
    else:
        yield None, operation.schemas.get(kind)


def kind_of(response: httpx.Response) -> str:
    """The media type of an answer."""
    return response.headers.get("content-type", "").partition(";")[0]


class Described:
    """Looks at answers as they come, and remembers what it has seen."""

    def __init__(self) -> None:
        listed = tomllib.loads(DEVIATIONS.read_text()).get("deviation", [])
        self.deviations = [Deviation(**deviation) for deviation in listed]
        self.seen: set[str] = set()
        """The ids of the operations that were answered with success."""

    def look_at(self, response: httpx.Response) -> None:
        """Fail where an answer differs in a way that is not listed; a hook of httpx."""
        response.read()
        if response.is_error:
            assert not errors_of(response.json(), named("ErrorResponse"))
            return
        path = response.request.url.raw_path.decode().partition("?")[0]
        if operation := find_operation(response.request.method, path):
            self.seen.add(operation.id)
        self.check(differences(response))

    def check(self, found: Iterable[Difference]) -> None:
        """Fail where one of the differences is not listed."""
        unlisted = []
        for difference in found:
            known = [listed for listed in self.deviations if listed.covers(difference)]
            for listed in known:
                listed.seen.add(difference.at)
            if not known:
                unlisted.append(difference)
        assert not unlisted, sorted(set(unlisted))

    def unseen(self) -> list[tuple[str, str]]:
        """Return what is listed and did not occur."""
        return [
            (deviation.operations, at)
            for deviation in self.deviations
            for at in deviation.at
            if at not in deviation.seen
        ]
