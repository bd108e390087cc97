"""The pages: an overview, and one for each family of calls. Plain HTML: no script, nothing from elsewhere."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from litestar.routes import BaseRoute
from markupsafe import Markup, escape

from api.openapi.document import build_document, find_calls
from api.openapi.operations import FAMILIES, OPERATIONS, Family
from api.reference.fields import Field, Variant, fields_of, parameter_field
from api.reference.snippets import curl, python

Document = Mapping[str, Any]

OVERVIEW: Final = "/reference"
STYLESHEET: Final = "/reference/style.css"
SLUGS: Final[Mapping[str, str]] = {f"{OVERVIEW}/{family.slug}": family.slug for family in FAMILIES}
"""Of the families, by the paths of their pages."""


class Reference:
    """The description of an application, and its pages; each is made when it is first asked for.

    Args:
        routes: Of the application.

    Raises:
        UndescribedRoute: One is not in `api.openapi.operations`.
    """

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        find_calls(routes)
        self._routes = routes
        self._pages: dict[str, bytes] = {}

    @cached_property
    def document(self) -> Document:
        """The OpenAPI document."""
        return build_document(self._routes)

    def document_json(self) -> bytes:
        """Return the same, as it is sent."""
        return json.dumps(self.document, ensure_ascii=False).encode()

    def page(self, slug: str) -> bytes:
        """Return the page of a family; the overview's slug is empty."""
        if slug not in self._pages:
            family = next((each for each in FAMILIES if each.slug == slug), None)
            html = (
                _render_family(self.document, family) if family else _render_overview(self.document)
            )
            self._pages[slug] = html.encode()
        return self._pages[slug]


@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call as its page shows it."""

    method: str
    path: str
    anchor: str
    summary: str
    is_extension: bool
    scopes: list[str]
    parameters: list[Field]
    body_type: str
    body: list[Variant]
    max_bytes: int | None
    curl: str
    python: str
    answer_type: str
    answer: list[Variant]
    answer_example: str
    events: list[Variant]
    """Of a stream; empty where there is none."""


def _render_overview(document: Document) -> str:
    """Return the first page: how to begin, and all calls."""
    error = document["components"]["responses"]["Error"]["content"]["application/json"]["example"]
    listed = {
        family.slug: [_heading(key, document) for key in family.operations] for family in FAMILIES
    }
    return _page("overview.html", document, family=None, listed=listed, error=_highlighted(error))


def _render_family(document: Document, family: Family) -> str:
    """Return the page of a family."""
    calls = [_shown(key, document) for key in family.operations]
    return _page("family.html", document, family=family, calls=calls)


def stylesheet() -> str:
    """Return the pages' CSS."""
    return files("api.reference").joinpath("templates/style.css").read_text()


def _heading(key: str, document: Document) -> dict[str, str | bool]:
    """Return what the overview says of a call."""
    method, path = key.split(" ")
    described = document["paths"][path][method.lower()]
    return {
        "method": method,
        "path": path,
        "anchor": described["operationId"],
        "summary": described["summary"],
        "is_extension": described.get("x-extension", False),
    }


def _shown(key: str, document: Document) -> ShownCall:
    method, path = key.split(" ")
    _, operation = OPERATIONS[key]
    described = document["paths"][path][method.lower()]
    named = document["components"]["schemas"]
    body_type, body = _first_content(described.get("requestBody", {}))
    success = described["responses"].get("200", {})
    answer_type, answer = _first_content(success)
    return ShownCall(
        method=method,
        path=path,
        anchor=described["operationId"],
        summary=described["summary"],
        is_extension=described.get("x-extension", False),
        scopes=[scope for requirement in described["security"] for scope in requirement["key"]],
        parameters=[parameter_field(each, named) for each in described.get("parameters", [])],
        body_type=body_type,
        body=fields_of(body.get("schema", {}), named),
        max_bytes=described.get("requestBody", {}).get("x-max-bytes"),
        curl=curl(method, path, operation),
        python=python(method, path, operation),
        answer_type=answer_type,
        answer=fields_of(answer.get("schema", {}), named),
        answer_example=_highlighted(answer["example"]) if "example" in answer else "",
        events=fields_of(_event_data(success), named),
    )


def _first_content(holder: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the media type and description of a body; empty where there is none."""
    return next(iter(holder.get("content", {}).items()), ("", {}))


def _event_data(success: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema of what a stream's events hold; empty where nothing streams."""
    match success:
        case {
            "content": {
                "text/event-stream": {
                    "schema": {
                        "properties": {"data": {"anyOf": [_, {"contentSchema": dict(data)}]}}
                    }
                }
            }
        }:
            return data
        case _:
            return {}


def _page(template: str, document: Document, **values: object) -> str:
    page = _environment().get_template(template)
    return page.render(info=document["info"], families=FAMILIES, **values)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("api.reference"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _with_code
    environment.filters["size"] = _size
    environment.filters["path"] = _with_parameters
    return environment


def _with_code(text: str) -> Markup:
    """Set what stands between backticks as code."""
    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def _with_parameters(path: str) -> Markup:
    """Set a path's parameters apart, and let it break before each of its parts."""
    parts = re.split(r"(\{\w+\})", path)
    return Markup("").join(
        Markup("<i>{}</i>").format(part)
        if index % 2
        else escape(part).replace("/", Markup("<wbr>/"))
        for index, part in enumerate(parts)
    )


def _size(n_bytes: int) -> str:
    return f"{n_bytes // 2**20} MB" if n_bytes >= 2**20 else f"{n_bytes // 2**10} KB"


def _highlighted(value: object) -> Markup:
    """Write JSON with its keys set apart."""
    text = str(escape(json.dumps(value, indent=2, ensure_ascii=False)))
    return Markup(re.sub(r"(?m)^( *)(&#34;[\w.$-]+&#34;):", r"\1<b>\2</b>:", text))  # noqa: S704 - escaped above
