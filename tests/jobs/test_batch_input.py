"""A batch's input file: what is wrong with it, line by line, and what is read of it."""

import json

import pytest

from api.bodies import CHAT_BYTES
from jobs.batch_input import check_input, read_requests
from schemas.batches import MAX_ERRORS, MAX_LINE_BYTES, MAX_REQUESTS
from tests.batches import CHAT, jsonl, line

GOOD = line("a")


def without(field):
    return {name: value for name, value in line("b").items() if name != field}


def check(path, content):
    path.write_bytes(content)
    return check_input(path, CHAT, stop=lambda: False)


BAD = {
    "not JSON": (b"{no}", "invalid_json_line", None),
    "a byte-order mark": ("\ufeff".encode() + json.dumps(GOOD).encode(), "invalid_json_line", None),
    "not UTF-8": (b'{"custom_id": "\xff"}', "invalid_json_line", None),
    "no object": (b"[1, 2]", "invalid_type", None),
    "a name twice": (b'{"custom_id": "x", "custom_id": "y"}', "invalid_json_line", None),
    "no custom_id": (without("custom_id"), "missing_required_parameter", "custom_id"),
    "an empty custom_id": (line(""), "string_below_min_length", "custom_id"),
    "a number as custom_id": (line(7), "invalid_type", "custom_id"),
    "a custom_id again": (line("a"), "duplicate_custom_id", "custom_id"),
    "no body": (without("body"), "missing_required_parameter", "body"),
    "no model": (line("b", body={"messages": []}), "missing_required_parameter", "body.model"),
    "another model": (
        line("b", body=GOOD["body"] | {"model": "x"}),
        "mismatched_model",
        "body.model",
    ),
    "another method": (line("b", method="GET"), "invalid_value", "method"),
    "another endpoint": (line("b", url="/v1/embeddings"), "invalid_url", "url"),
    "an unknown field": (line("b", priority=1), "unknown_parameter", "priority"),
    "a stream": (
        line("b", body=GOOD["body"] | {"stream": True}),
        "unsupported_value",
        "body.stream",
    ),
}


@pytest.mark.parametrize(("bad", "code", "param"), BAD.values(), ids=BAD.keys())
def test_a_bad_line_is_named(tmp_path, bad, code, param):
    """The finding has OpenAI's code, the line's number and the field; the good line is not named."""
    content = bad if isinstance(bad, bytes) else json.dumps(bad).encode()
    findings = check(tmp_path / "in", jsonl([GOOD]) + b"\n" + content + b"\n")
    assert [(e.code, e.line, e.param) for e in findings.errors] == [(code, 3, param)]


def test_a_line_that_is_too_long_is_named_and_the_next_is_read(tmp_path):
    """A request has the live endpoint's limit; what follows is checked as ever."""
    assert MAX_LINE_BYTES == CHAT_BYTES
    long = line("long", "x" * MAX_LINE_BYTES)
    findings = check(tmp_path / "in", jsonl([long, GOOD, without("url")]))
    assert [(e.code, e.line) for e in findings.errors] == [
        ("request_too_large", 1),
        ("missing_required_parameter", 3),
    ]


def test_a_file_without_requests_is_told_so(tmp_path):
    """Blank lines are none."""
    findings = check(tmp_path / "in", b"\n \n")
    assert [(e.code, e.line) for e in findings.errors] == [("empty_file", None)]


def test_a_file_with_too_many_requests_is_told_so(tmp_path):
    """One more than OpenAI takes; none of them is named."""
    findings = check(tmp_path / "in", jsonl(line(f"{n}") for n in range(MAX_REQUESTS + 1)))
    assert [e.code for e in findings.errors] == ["too_many_tasks"]


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a"] * 500, []),
        (["a"] * 501, ["too_many_inputs"]),
        ([[1, 2]] * 501, ["too_many_inputs"]),
        (list(range(501)), []),
        ("a" * 501, []),
    ],
    ids=["as many as OpenAI takes", "too many texts", "too many lists of tokens", "tokens", "text"],
)
def test_texts_of_embeddings_are_counted(tmp_path, inputs, expected):
    """A hundred requests may hold 50,000 inputs together; the tokens of one input are not several."""
    url = "/v1/embeddings"
    body = {"model": "vectors", "input": inputs}
    path = tmp_path / "in"
    path.write_bytes(jsonl(line(f"{n}", url=url, body=body) for n in range(100)))
    findings = check_input(path, url, stop=lambda: False)
    assert [e.code for e in findings.errors] == expected


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    """Its size is enough."""
    path = tmp_path / "in"
    with path.open("wb") as file:
        file.truncate(200 * 2**20 + 1)
    findings = check_input(path, CHAT, stop=lambda: False)
    assert [e.code for e in findings.errors] == ["file_too_large"]


def test_findings_are_listed_up_to_a_number(tmp_path):
    """A file with nothing but bad lines is not listed whole."""
    assert len(check(tmp_path / "in", b"{\n" * 1000).errors) == MAX_ERRORS


def test_a_good_file_is_read_as_it_was_checked(tmp_path):
    """Total and model are told; requests come in order, with their line's number."""
    content = jsonl([GOOD]) + b"\n" + jsonl([line("b", "hi")]).rstrip(b"\n")
    findings = check(tmp_path / "in", content)
    assert (findings.total, findings.model, findings.errors) == (2, "nano", [])
    read = list(read_requests(tmp_path / "in"))
    assert [(r.number, r.custom_id) for r in read] == [(1, "a"), (3, "b")]
    assert read[1].body["messages"] == [{"role": "user", "content": "hi"}]
