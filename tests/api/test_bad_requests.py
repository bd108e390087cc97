"""What a client gets wrong is answered in OpenAI's envelope, with code and param, and never with 500."""

import httpx
import pytest

from tests.api_server import Server

JOBS = "/v1/fine_tuning/jobs"
CHAT = "/v1/chat/completions"
JOB = {"model": "nano", "training_file": "file-x"}
HELLO = [{"role": "user", "content": "hello"}]
TALK = {"model": "nano", "messages": HELLO}
DEEP_SCHEMA = {"a": 1}
for _ in range(40):
    DEEP_SCHEMA = {"a": DEEP_SCHEMA}


def said(content: object, role: str = "user") -> dict:
    return TALK | {"messages": [{"role": role, "content": content}]}


def schema(value: object) -> dict:
    named = {"name": "x", "schema": value}
    return TALK | {"response_format": {"type": "json_schema", "json_schema": named}}


BODIES = [
    (JOBS, {}, "missing_required_parameter", "model"),
    (JOBS, {"model": "nano"}, "missing_required_parameter", "training_file"),
    (JOBS, [], "invalid_type", None),
    (JOBS, JOB | {"model": 5}, "invalid_type", "model"),
    (JOBS, JOB | {"model": None}, "invalid_type", "model"),
    (JOBS, JOB | {"model": "gpt-9"}, "model_not_available", "model"),
    (JOBS, JOB, None, "training_file"),
    (JOBS, JOB | {"colour": 1}, "unknown_parameter", "colour"),
    (JOBS, JOB | {"suffix": "x" * 65}, "string_above_max_length", "suffix"),
    (JOBS, JOB | {"suffix": ""}, "string_below_min_length", "suffix"),
    (JOBS, JOB | {"seed": -1}, "integer_below_min_value", "seed"),
    (JOBS, JOB | {"seed": 2**31}, "integer_above_max_value", "seed"),
    (JOBS, JOB | {"seed": 1.5}, "invalid_type", "seed"),
    (JOBS, JOB | {"seed": True}, "invalid_type", "seed"),
    (JOBS, JOB | {"hyperparameters": "auto"}, "invalid_type", "hyperparameters"),
    (
        JOBS,
        JOB | {"hyperparameters": {"n_epochs": 0}},
        "integer_below_min_value",
        "hyperparameters.n_epochs",
    ),
    (
        JOBS,
        JOB | {"hyperparameters": {"n_epochs": 51}},
        "integer_above_max_value",
        "hyperparameters.n_epochs",
    ),
    (
        JOBS,
        JOB | {"hyperparameters": {"n_epochs": "many"}},
        "invalid_value",
        "hyperparameters.n_epochs",
    ),
    (
        JOBS,
        JOB | {"hyperparameters": {"batch_size": []}},
        "invalid_type",
        "hyperparameters.batch_size",
    ),
    (
        JOBS,
        JOB | {"hyperparameters": {"learning_rate_multiplier": 0}},
        "decimal_below_min_value",
        "hyperparameters.learning_rate_multiplier",
    ),
    (JOBS, JOB | {"hyperparameters": {"beta": 1}}, "unknown_parameter", "hyperparameters.beta"),
    (JOBS, JOB | {"method": {}}, "missing_required_parameter", "method.type"),
    (JOBS, JOB | {"method": {"type": "magic"}}, "invalid_value", "method.type"),
    (JOBS, JOB | {"method": {"type": "dpo"}}, "unsupported_value", "method.type"),
    (JOBS, JOB | {"integrations": [{}] * 6}, "array_above_max_length", "integrations"),
    (JOBS, JOB | {"metadata": {"a": 1}}, "invalid_type", "metadata.a"),
    (JOBS, JOB | {"metadata": {"a": "x" * 513}}, "string_above_max_length", "metadata.a"),
    (
        JOBS,
        JOB | {"metadata": {str(n): "" for n in range(17)}},
        "object_above_max_properties",
        "metadata",
    ),
    (CHAT, {"model": "nano"}, "missing_required_parameter", "messages"),
    (CHAT, {"messages": HELLO}, "missing_required_parameter", "model"),
    (CHAT, TALK | {"messages": []}, "empty_array", "messages"),
    (CHAT, TALK | {"messages": "hi"}, "invalid_type", "messages"),
    (CHAT, TALK | {"messages": [{}]}, "missing_required_parameter", "messages[0].role"),
    (CHAT, said("hi", role="robot"), "invalid_value", "messages[0].role"),
    (CHAT, said("hi", role="function"), "missing_required_parameter", "messages[0].name"),
    (CHAT, said("hi", role="tool"), "missing_required_parameter", "messages[0].tool_call_id"),
    (CHAT, said(None), "invalid_type", "messages[0].content"),
    (CHAT, said(None, role="assistant"), "invalid_value", "messages[0]"),
    (CHAT, said([]), "empty_array", "messages[0].content"),
    (
        CHAT,
        said([{"type": "image_url", "image_url": {"url": "http://127.0.0.1/"}}]),
        "invalid_value",
        "messages[0].content[0].type",
    ),
    (
        CHAT,
        said([{"type": "input_audio", "input_audio": {}}]),
        "invalid_value",
        "messages[0].content[0].type",
    ),
    (CHAT, said([{"type": "text"}]), "missing_required_parameter", "messages[0].content[0].text"),
    (CHAT, TALK | {"n": 0}, "integer_below_min_value", "n"),
    (CHAT, TALK | {"n": 9}, "integer_above_max_value", "n"),
    (CHAT, TALK | {"temperature": 2.5}, "decimal_above_max_value", "temperature"),
    (CHAT, TALK | {"temperature": "hot"}, "invalid_type", "temperature"),
    (
        CHAT,
        TALK | {"top_logprobs": 21, "logprobs": True},
        "integer_above_max_value",
        "top_logprobs",
    ),
    (CHAT, TALK | {"top_logprobs": 2}, "invalid_value", "top_logprobs"),
    (CHAT, TALK | {"stop": list("abcde")}, "array_above_max_length", "stop"),
    (CHAT, TALK | {"logit_bias": {"5": 101}}, "decimal_above_max_value", "logit_bias.5"),
    (CHAT, TALK | {"logit_bias": {"five": 1}}, "invalid_value", "logit_bias.five"),
    (CHAT, TALK | {"max_tokens": 0}, "integer_below_min_value", "max_tokens"),
    (CHAT, TALK | {"stream": "yes"}, "invalid_type", "stream"),
    (CHAT, TALK | {"stream_options": {}}, "invalid_value", "stream_options"),
    (CHAT, TALK | {"store": "yes"}, "invalid_type", "store"),
    (CHAT, TALK | {"n": 9}, "integer_above_max_value", "n"),
    (
        CHAT,
        TALK | {"max_tokens": 1, "max_completion_tokens": 1},
        "invalid_parameter_combination",
        "max_tokens",
    ),
    (CHAT, TALK | {"tool_choice": "none"}, "invalid_value", "tool_choice"),
    (CHAT, TALK | {"parallel_tool_calls": True}, "invalid_value", "parallel_tool_calls"),
    (CHAT, TALK | {"function_call": "auto"}, "invalid_value", "function_call"),
    (
        CHAT,
        TALK | {"functions": [{"name": "f"}], "function_call": {"name": "g"}},
        "invalid_value",
        "function_call",
    ),
    (CHAT, TALK | {"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    (CHAT, TALK | {"modalities": ["audio"]}, "invalid_value", "modalities[0]"),
    (CHAT, TALK | {"functions": []}, "empty_array", "functions"),
    (CHAT, TALK | {"prediction": {}}, "unsupported_parameter", "prediction"),
    (CHAT, TALK | {"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    (CHAT, TALK | {"service_tier": "flex"}, "invalid_value", "service_tier"),
    (CHAT, TALK | {"tools": [{"type": "custom"}]}, "invalid_value", "tools[0].type"),
    (CHAT, TALK | {"tools": [{}] * 129}, "array_above_max_length", "tools"),
    (CHAT, TALK | {"tool_choice": "always"}, "invalid_value", "tool_choice"),
    (CHAT, TALK | {"response_format": {"type": "xml"}}, "invalid_value", "response_format.type"),
    (
        CHAT,
        TALK | {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
        "missing_required_parameter",
        "response_format.json_schema.schema",
    ),
    (CHAT, schema(DEEP_SCHEMA), "invalid_value", "response_format.json_schema.schema"),
    (CHAT, schema({"a": "x" * 70_000}), "invalid_value", "response_format.json_schema.schema"),
    (CHAT, schema({"pattern": "x" * 300}), "invalid_value", "response_format.json_schema.schema"),
]
ENGINE_FIELDS = [
    "add_generation_prompt", "allowed_token_ids", "bad_words", "cache_salt", "chat_template",
    "chat_template_kwargs", "documents", "guided_json", "ignore_eos", "kv_transfer_params",
    "logits_processors", "mm_processor_kwargs", "priority", "prompt_logprobs", "repetition_penalty",
    "request_id", "structured_outputs", "top_k", "vllm_xargs",
]  # fmt: skip


def error_of(response: httpx.Response) -> dict:
    """Return the error, after checking what holds for every one."""
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"].startswith("req_")
    assert response.json().keys() == {"error"}
    error = response.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    return error


@pytest.mark.parametrize(("path", "body", "code", "param"), BODIES)
def test_body(http: httpx.Client, path: str, body: object, code: str, param: str) -> None:
    """A body with something wrong in it is refused, by code and field."""
    response = http.post(path, json=body)
    error = error_of(response)
    assert (response.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize("field", ENGINE_FIELDS)
def test_field_of_the_engine(http: httpx.Client, server: Server, field: str) -> None:
    """What vLLM would take and OpenAI does not document is refused, and does not reach the engine."""
    before = len(server.engine.requests)
    error = error_of(http.post(CHAT, json=TALK | {field: 1}))
    assert error["code"] == "unknown_parameter"
    assert error["message"] == f"Unknown parameter: '{field}'."
    assert len(server.engine.requests) == before


@pytest.mark.parametrize("path", [JOBS, CHAT])
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"nonsense", b"{'a': 1}", b'{"a": 1,}', b'{"a": NaN}', b'{"a": -Infinity}',
        b'{"a": 1e999}', b'{"a": "\\ud800"}', b'{"a": "\\u0000"}', b'{"a": "\xff"}',
        b'{"a": 1, "a": 2}', b"\xef\xbb\xbf{}", b'{"a": "\x01"}', b"[" * 100_000,
        b'{"metadata":' * 5_000 + b"1" + b"}" * 5_000, b"[" * 65 + b"]" * 65, b"9" * 5_000,
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_not_json(http: httpx.Client, path: str, body: bytes) -> None:
    """What is not JSON, or is JSON that no two parsers agree on, is refused."""
    response = http.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("path", "param", "code"),
    [
        ("/v1/files?limit=-1", "limit", "integer_below_min_value"),
        ("/v1/files?limit=10001", "limit", "integer_above_max_value"),
        ("/v1/files?limit=many", "limit", "invalid_type"),
        ("/v1/files?limit=1.5", "limit", "invalid_type"),
        ("/v1/files?limit=", "limit", "invalid_type"),
        ("/v1/files?order=up", "order", "invalid_value"),
        ("/v1/files?after=file-none", "after", None),
        ("/v1/files?after=%00", "after", "invalid_value"),
        ("/v1/fine_tuning/jobs?limit=101", "limit", "integer_above_max_value"),
        ("/v1/fine_tuning/jobs?after=none", "after", None),
        (
            f"/v1/fine_tuning/jobs?metadata[{'k' * 65}]=1",
            "metadata." + "k" * 65,
            "string_above_max_length",
        ),
    ],
)
def test_query(http: httpx.Client, path: str, param: str, code: str | None) -> None:
    """A query that asks for the impossible is refused by its parameter."""
    response = http.get(path)
    error = error_of(response)
    assert (response.status_code, error["param"], error["code"]) == (400, param, code)


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/v1/nothing", "Invalid URL (GET /v1/nothing)"),
        ("POST", "/v2/files", "Invalid URL (POST /v2/files)"),
        ("GET", "/v1/files/a%00b", "Invalid URL (GET /v1/files/a%00b)"),
        ("GET", "/v1/files/file-x", "No such File object: file-x"),
        ("DELETE", "/v1/files/file-x", "No such File object: file-x"),
        ("GET", "/v1/files/file-x/content", "No such File object: file-x"),
        ("GET", "/v1/files/x%2Fcontent", "No such File object: x/content"),
        ("GET", "/v1/files/..%2F..%2Fetc%2Fpasswd", "No such File object: ../../etc/passwd"),
        ("GET", "/v1/fine_tuning/jobs/x", "Could not find fine tune: x"),
        ("POST", "/v1/fine_tuning/jobs/x/cancel", "Could not find fine tune: x"),
        ("GET", "/v1/fine_tuning/jobs/x/events", "Could not find fine tune: x"),
        ("GET", "/v1/fine_tuning/jobs/x/checkpoints", "Could not find fine tune: x"),
        ("GET", "/v1/models/ft:none", "The model 'ft:none' does not exist"),
        ("DELETE", "/v1/models/ft:a%2Fb:o::c", "The model 'ft:a/b:o::c' does not exist"),
    ],
)
def test_not_there(http: httpx.Client, method: str, path: str, message: str) -> None:
    """What is not there is 404, in OpenAI's words."""
    response = http.request(method, path)
    assert (response.status_code, error_of(response)["message"]) == (404, message)


def test_chat_with_no_such_model(http: httpx.Client) -> None:
    """An unknown model is 404 in the words that chat has for it."""
    response = http.post(CHAT, json=TALK | {"model": "gpt-9"})
    error = error_of(response)
    assert (response.status_code, error["code"]) == (404, "model_not_found")
    assert error["message"].startswith("The model `gpt-9` does not exist or you do not have")


def test_base_cannot_be_deleted(http: httpx.Client) -> None:
    """A base model is not the caller's to delete."""
    response = http.delete("/v1/models/nano")
    assert response.status_code == 403
    assert error_of(response)["param"] == "model"


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", "/v1/completions", "Only POST requests are accepted."),
        ("DELETE", CHAT, "Only GET and POST requests are accepted."),
        ("PUT", "/v1/files", "Only GET and POST requests are accepted."),
        ("POST", "/v1/models", "Only GET requests are accepted."),
        ("POST", "/v1/files/file-x", "Only DELETE and GET requests are accepted."),
        ("PATCH", CHAT, "Only GET and POST requests are accepted."),
    ],
)
def test_wrong_method(http: httpx.Client, method: str, path: str, message: str) -> None:
    """A method that a path does not have is 405, naming those it has."""
    response = http.request(method, path)
    error = error_of(response)
    assert (response.status_code, error["code"]) == (405, "method_not_supported")
    assert error["message"] == message


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "x"])
def test_wrong_content_type(http: httpx.Client, content_type: str) -> None:
    """A body that does not call itself JSON is 415, as curl's default is."""
    response = http.post(CHAT, content=b"{}", headers={"content-type": content_type})
    assert response.status_code == 415
    assert content_type in error_of(response)["message"]


@pytest.mark.parametrize("path", [CHAT, JOBS, "/v1/files"])
def test_compressed_body(http: httpx.Client, path: str) -> None:
    """A compressed body is 415: it could unfold into any size."""
    response = http.post(path, content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert response.status_code == 415
    assert error_of(response)["code"] == "unsupported_content_encoding"


@pytest.mark.parametrize("path", ["/v1/files", JOBS])
def test_page_of_nothing(http: httpx.Client, path: str) -> None:
    """A page of no items is a page, as at OpenAI, whose description names no least `limit`."""
    page = http.get(path, params={"limit": 0})
    assert page.status_code == 200
    assert page.json()["data"] == []


def test_files_of_a_purpose_nobody_has(http: httpx.Client) -> None:
    """A purpose that no file can have finds none; OpenAI describes the filter as any text."""
    page = http.get("/v1/files", params={"purpose": "fun"})
    assert page.status_code == 200
    assert page.json()["data"] == []


@pytest.mark.parametrize(("path", "limit"), [(JOBS, 256 * 1024), (CHAT, 4 * 2**20)])
@pytest.mark.parametrize("is_announced", [True, False])
def test_too_large(http: httpx.Client, path: str, limit: int, is_announced: bool) -> None:
    """A body over the route's limit is 413, whether or not its length was announced."""
    body = b'"' + b"x" * limit + b'"'
    content = body if is_announced else iter([body[:limit], body[limit:]])
    response = http.post(path, content=content, headers={"content-type": "application/json"})
    assert response.status_code == 413
    assert str(limit) in error_of(response)["message"]


def test_refused_by_the_engine(http: httpx.Client) -> None:
    """What only the engine can judge is its 400 in our words, without its name or its Python."""
    response = http.post(CHAT, json=said("refuse"))
    error = error_of(response)
    assert response.status_code == 400
    assert error["message"] == "stop cannot contain an empty string."


def test_one_bad_request_does_not_harm_the_next(http: httpx.Client) -> None:
    """A connection on which a request was refused serves the next one."""
    assert http.post(CHAT, content=b"{").status_code == 400
    assert http.post(CHAT, json=TALK).status_code == 200
