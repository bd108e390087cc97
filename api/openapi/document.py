"""The OpenAPI document: what the routes' signatures say, with what `api.openapi.operations` adds."""

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, NoReturn

from litestar.handlers import HTTPRouteHandler
from litestar.response import File
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ASGIApp
from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from api.bodies import max_bytes, model_of
from api.idempotency import is_recognised
from api.openapi.examples import PATH_VALUES, example_of
from api.openapi.json_schemas import REF, json_schemas
from api.openapi.operations import FAMILIES, OPERATIONS, Family, Operation
from api.scopes import scopes_for
from schemas.errors import ErrorResponse

Json = dict[str, Any]
"""A part of the document; what may stand in it is OpenAPI's to say, and the tests hold us to it."""

_PREFIX: Final = "/v1"
_EXTENSION: Final = "Extension: not at OpenAI."
_KEY: Final[Json] = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of `retune keys create` or of /v1/organization.",
}


class UndescribedRoute(Exception):
    """Somebody added a route without a line in `api.openapi.operations`, or left a line without its route."""


@dataclass(frozen=True, slots=True)
class Call:
    """A route under `/v1`, and what is known of it."""

    method: str
    path: str
    """As a template: `/v1/files/{file_id}`."""
    handler: HTTPRouteHandler
    family: Family
    operation: Operation

    @property
    def key(self) -> str:
        """Method and path."""
        return f"{self.method} {self.path}"

    def types(self) -> Iterator[tuple[str, JsonSchemaMode, Any]]:
        """Yield what crosses the wire: its part, its mode, and its type."""
        if "asked" in self.handler.parsed_fn_signature.parameters:
            yield "body", "validation", model_of(self.handler, "asked")
        if "params" in self.handler.parsed_fn_signature.parameters:
            yield "query", "validation", model_of(self.handler, "params")
        for part in ("form", "events"):
            if declared := self.handler.opt.get(part):
                yield part, "validation" if part == "form" else "serialization", declared
        returned = self.handler.parsed_fn_signature.return_type.annotation
        answer = self.handler.opt.get("answer", returned)
        if answer not in {ASGIApp, NoReturn, File}:
            yield "answer", "serialization", answer


def find_calls(routes: Iterable[BaseRoute]) -> list[Call]:
    """Return the routes under `/v1` with what is said of them, in the order of the families.

    Raises:
        UndescribedRoute: Nothing is said of one, or something of none.
    """
    found = {
        f"{method} {route.path_format}": (method, route.path_format, handler[0])
        for route in routes
        if isinstance(route, HTTPRoute) and route.path_format.startswith(f"{_PREFIX}/")
        for method, handler in route.route_handler_map.items()
        if method != "OPTIONS"
    }
    if differing := found.keys() ^ OPERATIONS.keys():
        raise UndescribedRoute(f"{sorted(differing)}: see api.openapi.operations")
    return [
        Call(*found[key], family=family, operation=operation)
        for key, (family, operation) in OPERATIONS.items()
    ]


def build_document(routes: Iterable[BaseRoute]) -> Json:
    """Return the description of an application as OpenAPI 3.1.

    Raises:
        UndescribedRoute: As `find_calls`.
    """
    calls = find_calls(routes)
    inputs: list[tuple[Hashable, JsonSchemaMode, TypeAdapter[Any]]] = [
        ((call.key, part), mode, TypeAdapter(type_))
        for call in calls
        for part, mode, type_ in call.types()
    ]
    inputs.append(("error", "serialization", TypeAdapter(ErrorResponse)))
    schemas, named = json_schemas(inputs)
    paths: dict[str, Json] = {}
    queries: set[str] = set()
    for call in calls:
        parts = {part: schemas[(call.key, part), mode] for part, mode, _ in call.types()}
        if query := parts.get("query"):
            queries.add(name := query["$ref"].removeprefix(REF))
            parts["query"] = named[name]
        paths.setdefault(call.path, {})[call.method.lower()] = _operation(call, parts, named)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "retune",
            "version": version("retune"),
            "summary": "OpenAI's fine-tuning platform on your own GPUs.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": each.name, "description": each.sentence} for each in FAMILIES],
        "paths": paths,
        "components": {
            "schemas": {name: named[name] for name in named if name not in queries},
            "securitySchemes": {"key": _KEY},
            "responses": {"Error": _error_response(schemas["error", "serialization"])},
        },
    }


def _operation(call: Call, parts: Mapping[str, Json], named: Mapping[str, Json]) -> Json:
    described: Json = {
        "operationId": _operation_id(call),
        "tags": [call.family.name],
        "summary": call.operation.summary,
        "security": [{"key": [scope]} for scope in scopes_for(call.method, call.path)],
    }
    if call.operation.is_extension:
        described |= {"description": _EXTENSION, "x-extension": True}
    if parameters := [*_path_parameters(call), *_query_parameters(call, parts), *_headers(call)]:
        described["parameters"] = parameters
    if body := _request_body(call, parts):
        described["requestBody"] = body
    described["responses"] = _responses(call, parts, named)
    return described


def _operation_id(call: Call) -> str:
    words = re.findall(r"[a-z]+", call.path.removeprefix(f"{_PREFIX}/"))
    return "_".join([call.method.lower(), *words])


def _path_parameters(call: Call) -> Iterator[Json]:
    for name in re.findall(r"\{(\w+)\}", call.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1},
            "example": PATH_VALUES[name],
        }


def _query_parameters(call: Call, parts: Mapping[str, Json]) -> Iterator[Json]:
    query = parts.get("query", {})
    for name, schema in query.get("properties", {}).items():
        kept = {key: value for key, value in _not_null(schema).items() if key != "description"}
        parameter = {"name": name, "in": "query", "required": name in query.get("required", [])}
        if kept.get("type") == "array":
            parameter |= {"name": f"{name}[]", "style": "form", "explode": True}
        if "description" in schema:
            parameter["description"] = schema["description"]
        if name in call.operation.query:
            parameter["example"] = call.operation.query[name]
        yield parameter | {"schema": kept}
    if "metadata" in call.handler.parsed_fn_signature.parameters:
        yield {
            "name": "metadata",
            "in": "query",
            "required": False,
            "style": "deepObject",
            "explode": True,
            "description": "Only what has these pairs: `metadata[key]=value`.",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        }


def _not_null(schema: Json) -> Json:
    """Return what a query parameter may be: in a query string there is no null."""
    match schema:
        case {"anyOf": list(choices), **rest}:
            left = [choice for choice in choices if choice != {"type": "null"}]
            merged = {**rest, **left[0]} if len(left) == 1 else {**rest, "anyOf": left}
            return {
                key: value for key, value in merged.items() if (key, value) != ("default", None)
            }
        case _:
            return schema


def _headers(call: Call) -> Iterator[Json]:
    if call.method == "POST" and is_recognised(call.path.removeprefix(_PREFIX)):
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "Sent again within a day, the request gets the same answer and makes nothing new.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        }


def _request_body(call: Call, parts: Mapping[str, Json]) -> Json | None:
    example = dict(call.operation.body)
    if form := parts.get("form"):
        return {"required": True, "content": {"multipart/form-data": {"schema": form}}}
    if body := parts.get("body"):
        content = {"application/json": {"schema": body} | ({"example": example} if example else {})}
        return {"required": True, "content": content, "x-max-bytes": max_bytes(call.handler)}
    return None


def _responses(call: Call, parts: Mapping[str, Json], named: Mapping[str, Json]) -> Json:
    errors = {status: {"$ref": "#/components/responses/Error"} for status in ("4XX", "5XX")}
    content: Json = {}
    if answer := parts.get("answer"):
        content["application/json"] = {"schema": answer, "example": example_of(answer, named)}
    if events := parts.get("events"):
        content["text/event-stream"] = {"schema": _event(events)}
    if call.handler.parsed_fn_signature.return_type.annotation is File:
        content["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    return ({"200": {"description": "Success.", "content": content}} if content else {}) | errors


def _event(data: Json) -> Json:
    """Return the schema of one server-sent event: before OpenAPI 3.2, tools take a stream's for its events'."""
    as_text = {"type": "string", "contentMediaType": "application/json", "contentSchema": data}
    return {
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "data": {"anyOf": [{"const": "[DONE]"}, as_text]},
        },
    }


def _error_response(schema: Json) -> Json:
    example = {
        "error": {
            "message": "Missing required parameter: 'model'.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "missing_required_parameter",
        }
    }
    content = {"application/json": {"schema": schema, "example": example}}
    return {"description": "What was wrong, in words to act on.", "content": content}
