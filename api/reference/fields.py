"""JSON schemas as rows of a table: what a field is called, is, and may be."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from api.openapi.json_schemas import REF

_MAX_DEPTH: Final = 6
_MAX_VALUES: Final = 12
_RANGES: Final = (
    ("minLength", "maxLength", "characters"),
    ("minItems", "maxItems", "items"),
    ("minProperties", "maxProperties", "pairs"),
    ("minimum", "maximum", ""),
)
_BOUNDS: Final[Mapping[str, str]] = {
    "exclusiveMinimum": "more than {}",
    "exclusiveMaximum": "less than {}",
    "pattern": "matches {}",
}

Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One row, and the rows inside of it."""

    name: str
    type: str
    is_required: bool
    default: str | None
    """As JSON; None: there is none, or it is null."""
    limits: str
    text: str
    is_extension: bool
    variants: tuple["Variant", ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """One kind of object that a field may hold."""

    title: str
    fields: tuple[Field, ...]


def fields_of(schema: Schema, named: Mapping[str, Schema]) -> list[Variant]:
    """Return the rows of each object that a body or an answer may be."""
    return list(_Reader(named).variants(schema, seen=()))


def parameter_field(parameter: Schema, named: Mapping[str, Schema]) -> Field:
    """Return the row of a parameter of a path, query or header."""
    return _Reader(named).field(
        parameter["name"],
        {"description": parameter.get("description", ""), **parameter["schema"]},
        is_required=parameter["required"],
        seen=(),
    )


class _Reader:
    def __init__(self, named: Mapping[str, Schema]) -> None:
        self._named = named

    def field(
        self, name: str, schema: Schema, *, is_required: bool, seen: tuple[str, ...]
    ) -> Field:
        default = schema.get("default")
        return Field(
            name=name,
            type=" or ".join(dict.fromkeys(self._types(schema))),
            is_required=is_required,
            default=None if default is None else json.dumps(default, ensure_ascii=False),
            limits=", ".join(dict.fromkeys(self._limits(schema))),
            text=schema.get("description", ""),
            is_extension=schema.get("x-extension", False),
            variants=tuple(self.variants(schema, seen=seen)),
        )

    def variants(self, schema: Schema, *, seen: tuple[str, ...]) -> Iterator[Variant]:
        """Yield the objects that a value of `schema` may be, or its items; none twice along one way."""
        for name, found in self._objects(schema):
            if name in seen or len(seen) == _MAX_DEPTH:
                continue
            required = found.get("required", [])
            rows = (
                self.field(field, inner, is_required=field in required, seen=(*seen, name))
                for field, inner in found["properties"].items()
            )
            yield Variant(_title(found, name), tuple(rows))

    def _objects(self, schema: Schema) -> Iterator[tuple[str, Schema]]:
        match schema:
            case {"$ref": str(ref)}:
                name = ref.removeprefix(REF)
                target = self._named[name]
                if "properties" in target:
                    yield name, target
                else:
                    yield from self._objects(target)
            case {"anyOf": choices} | {"oneOf": choices}:
                for choice in choices:
                    yield from self._objects(choice)
            case {"type": "array", "items": items}:
                yield from self._objects(items)
            case {"type": "object", "additionalProperties": dict(values)}:
                yield from self._objects(values)

    def _types(self, schema: Schema) -> Iterator[str]:
        match schema:
            case {"$ref": str(ref)}:
                yield from self._types(self._named[ref.removeprefix(REF)])
            case {"anyOf": choices} | {"oneOf": choices}:
                for choice in choices:
                    yield from self._types(choice)
            case {"const": value}:
                yield json.dumps(value)
            case {"enum": values}:
                shown = [json.dumps(value) for value in values]
                yield from shown[:_MAX_VALUES]
                if len(shown) > _MAX_VALUES:
                    yield "…"
            case {"type": "array", "items": items}:
                yield f"array of {' or '.join(dict.fromkeys(self._types(items)))}"
            case {"type": "string", "format": "binary"}:
                yield "bytes"
            case {"type": str(name)}:
                yield name
            case _:
                yield "any JSON"

    def _limits(self, schema: Schema) -> Iterator[str]:
        for least, most, unit in _RANGES:
            if limit := _range(schema.get(least), schema.get(most)):
                yield "not empty" if unit and limit == "at least 1" else f"{limit} {unit}".strip()
        for bound, words in _BOUNDS.items():
            if bound in schema:
                yield words.format(schema[bound])
        for choice in [*schema.get("anyOf", []), *schema.get("oneOf", [])]:
            yield from self._limits(choice)


def _title(schema: Schema, name: str) -> str:
    """Return what tells one object of a union from another: its `type` and `role`, else its name."""
    tags: dict[str, list[object]] = {}
    for tag in ("type", "role"):
        match schema["properties"].get(tag):
            case {"const": value}:
                tags[tag] = [value]
            case {"enum": list(values)}:
                tags[tag] = values
    shown = (
        f"{tag}: {' or '.join(json.dumps(value) for value in values)}"
        for tag, values in tags.items()
    )
    return ", ".join(shown) or name


def _range(least: float | None, most: float | None) -> str:
    if least is not None and most is not None:
        return f"{least} to {most}"
    if least is not None:
        return f"at least {least}"
    return "" if most is None else f"at most {most}"
