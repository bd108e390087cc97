"""Our pydantic classes as JSON schemas, with the docstrings of their fields."""

import ast
import inspect
import re
import sys
from collections.abc import Hashable, Iterable, Mapping
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

REF: Final = "#/components/schemas/"

_OURS: Final = re.compile(r"(Ours: |An extension of ours; )")


def json_schemas(
    inputs: Iterable[tuple[Hashable, JsonSchemaMode, TypeAdapter[Any]]],
) -> tuple[dict[tuple[Hashable, JsonSchemaMode], JsonSchemaValue], dict[str, JsonSchemaValue]]:
    """Return the schema of each input by its key and mode, and the named ones that they refer to."""
    schemas, rest = TypeAdapter.json_schemas(
        inputs, ref_template=REF + "{model}", schema_generator=_Generator
    )
    names = _short_names(rest.get("$defs", {}))
    named = {names[name]: _renamed(schema, names) for name, schema in rest.get("$defs", {}).items()}
    return {key: _renamed(schema, names) for key, schema in schemas.items()}, named


class _Generator(GenerateJsonSchema):
    """Says of an answer which fields it always has, and of each field what its docstring says."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        """No: a title would repeat the name."""
        return False

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        """Describe a model."""
        made = super().model_schema(schema)
        made.pop("title", None)
        properties: dict[str, JsonSchemaValue] = made.get("properties", {})
        for model in reversed(schema["cls"].__mro__):
            for name, text in _field_docstrings(model).items():
                if name in properties:
                    properties[name] |= _described(text)
        if self.mode == "serialization":
            made["required"] = _always_sent(schema["cls"], without_nulls="serialization" in schema)
        return made

    def ser_schema(self, schema: Any) -> JsonSchemaValue | None:  # noqa: ANN401, ARG002 - pydantic's signature
        """Look through serializers: ours leave out fields that have a default, and change nothing."""
        return None


def _always_sent(model: type[BaseModel], *, without_nulls: bool) -> list[str]:
    """Return the fields that each answer has, where a serializer may leave out those that are null."""
    return [
        name
        for name, field in model.model_fields.items()
        if not field.exclude_if and not (without_nulls and field.default is None)
    ]


def _described(text: str) -> JsonSchemaValue:
    """Return what a field's docstring says; what OpenAI does not have begins with `Ours`."""
    if found := _OURS.match(text):
        rest = text[found.end() :]
        return {"description": f"{rest[:1].upper()}{rest[1:]}", "x-extension": True}
    return {"description": text}


def _field_docstrings(model: type) -> dict[str, str]:
    """Return the docstrings below the fields of a class, without those that it inherits."""
    if not issubclass(model, BaseModel) or model is BaseModel:
        return {}
    origin = model.__pydantic_generic_metadata__["origin"] or model
    return _module_docstrings(origin.__module__).get(origin.__qualname__, {})


@cache
def _module_docstrings(module: str) -> dict[str, dict[str, str]]:
    """Return the docstrings below fields, by class and field.

    pydantic can take them itself, but does so at import, which would take every process of ours half a second.
    """
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {
        node.name: dict(_below_fields(node)) for node in tree.body if isinstance(node, ast.ClassDef)
    }


def _below_fields(node: ast.ClassDef) -> Iterable[tuple[str, str]]:
    for member, below in zip(node.body, node.body[1:], strict=False):
        match member, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text).replace("\n", " ")


def _short_names(names: Iterable[str]) -> dict[str, str]:
    """Return a name to read for each of pydantic's, which joins modules, arguments and modes into one."""
    short = {name: _short(name) for name in names}
    taken = list(short.values())
    return {name: found if taken.count(found) == 1 else name for name, found in short.items()}


def _short(name: str) -> str:
    """Return `ResponsesUsage` for `schemas__responses__Usage`."""
    *modules, last = name.split("__")
    words = [*modules[-1:], last]
    return "".join(
        part[:1].upper() + part[1:] for word in words for part in re.split(r"[^A-Za-z0-9]+", word)
    )


def _renamed(value: Any, names: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON, copied
    """Return a schema whose references go by the short names."""
    match value:
        case {"$ref": str(ref), **rest}:
            return {"$ref": REF + names[ref.removeprefix(REF)], **_renamed(rest, names)}
        case {"propertyName": str(tag), "mapping": dict(mapping)}:
            refs = {key: REF + names[ref.removeprefix(REF)] for key, ref in mapping.items()}
            return {"propertyName": tag, "mapping": refs}
        case {"discriminator": {"mapping": dict(mapping)}, **rest} if not _is_flat(mapping):
            return _renamed(rest, names)  # a union within a union, which OpenAPI cannot say
        case dict():
            return {key: _renamed(member, names) for key, member in value.items()}
        case list():
            return [_renamed(member, names) for member in value]
        case _:
            return value


def _is_flat(mapping: Mapping[str, object]) -> bool:
    return all(isinstance(ref, str) for ref in mapping.values())
