"""Query strings: any bytes are read or refused, and a filter by metadata finds what it was written with."""

from contextlib import suppress
from urllib.parse import urlencode

from litestar import Request

from api.bodies import parse_metadata, parse_query
from api.routes.chat import ListCompletions
from api.routes.responses import RetrieveResponse
from schemas.errors import InvalidRequest
from schemas.usage import UsageQuery
from tests.fuzz.target import fuzz

QUERIES = (ListCompletions, RetrieveResponse, UsageQuery)
"""With fields of every kind: words, numbers, booleans, lists."""


def queries_are_read_or_refused(query: bytes) -> None:
    """Check one query string."""
    for model in QUERIES:
        with suppress(InvalidRequest):
            assert isinstance(parse_query(request(query), model), model)
    try:
        pairs = parse_metadata(request(query))
    except InvalidRequest:
        return
    if pairs:
        written = urlencode({f"metadata[{key}]": value for key, value in pairs.items()})
        assert parse_metadata(request(written.encode())) == pairs


def request(query: bytes) -> Request:
    """A request of nothing but a query."""
    return Request({"type": "http", "method": "GET", "query_string": query, "headers": []})


if __name__ == "__main__":
    fuzz(queries_are_read_or_refused)
