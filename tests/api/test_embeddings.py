"""`/v1/embeddings`, asked by OpenAI's own SDK."""

import base64
import struct

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api_server import Server

PATH = "/v1/embeddings"


def test_vectors(strict: OpenAI, server: Server) -> None:
    """Each input gets its vector, in order, and nothing of the engine's own."""
    answer = strict.embeddings.create(model="vectors", input=["a", "b"], encoding_format="float")
    assert [one.embedding for one in answer.data] == [[0.0, 0.5], [1.0, 0.5]]
    assert (answer.model, answer.object, answer.usage.prompt_tokens) == ("vectors", "list", 6)
    asked = server.engine.requests[-1]
    assert asked.keys() == {
        "model", "input", "encoding_format", "embed_dtype", "endianness", "cache_salt",
    }  # fmt: skip


@pytest.mark.parametrize("given", ["a", ["a"], [1, 2], [[1, 2]]])
def test_kinds_of_inputs(client: OpenAI, given: object) -> None:
    """A text, texts, token ids and lists of them are taken."""
    answer = client.embeddings.create(model="vectors", input=given, encoding_format="float")
    assert answer.data[0].embedding == [0.0, 0.5]


def test_encodings(client: OpenAI, http: httpx.Client) -> None:
    """Numbers are the default; base64, which the SDK asks for by itself, is little-endian float32."""
    assert client.embeddings.create(model="vectors", input="a").data[0].embedding == [0.0, 0.5]
    asked = {"model": "vectors", "input": "a"}
    assert http.post(PATH, json=asked).json()["data"][0]["embedding"] == [0.0, 0.5]
    encoded = http.post(PATH, json=asked | {"encoding_format": "base64"}).json()
    assert base64.b64decode(encoded["data"][0]["embedding"]) == struct.pack("<2f", 0, 0.5)
    assert encoded.keys() == {"object", "data", "model", "usage"}


def test_dimensions_reach_the_engine(client: OpenAI, server: Server) -> None:
    """Whether a model can shorten its vectors is the engine's to know."""
    client.embeddings.create(model="vectors", input="a", dimensions=2)
    assert server.engine.requests[-1]["dimensions"] == 2


def test_models_that_embed_nothing(client: OpenAI, server: Server) -> None:
    """A base that chats, an alias of one and a tuned model answer as OpenAI's do."""
    for name in ("nano", "gpt-4o-mini", server.add_tuned_model()):
        with pytest.raises(
            openai.PermissionDeniedError, match="not allowed to generate embeddings"
        ):
            client.embeddings.create(model=name, input="a")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="text-embedding-3-small", input="a")
    with pytest.raises(openai.PermissionDeniedError, match="not allowed to sample"):
        client.chat.completions.create(
            model="vectors", messages=[{"role": "user", "content": "hello"}]
        )


def test_no_tuning_of_what_embeds(client: OpenAI) -> None:
    """A base that embeds is listed, and is not available for fine-tuning."""
    assert client.models.retrieve("vectors").id == "vectors"
    line = (
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    file = client.files.create(file=line * 12, purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="not available for fine-tuning") as raised:
        client.fine_tuning.jobs.create(model="vectors", training_file=file.id)
    assert (raised.value.code, raised.value.param) == ("model_not_available", "model")


BAD = [
    ({}, "missing_required_parameter", "input"),
    ({"input": ""}, "string_below_min_length", "input"),
    ({"input": []}, "empty_array", "input"),
    ({"input": ["a"] * 2049}, "array_above_max_length", "input"),
    ({"input": [[1] * 200_000, [1] * 200_000]}, "invalid_value", "input"),
    ({"input": "a", "encoding_format": "hex"}, "invalid_value", "encoding_format"),
    ({"input": "a", "dimensions": 0}, "integer_below_min_value", "dimensions"),
    ({"input": "a", "truncate_prompt_tokens": 1}, "unknown_parameter", "truncate_prompt_tokens"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD)
def test_bad_requests(http: httpx.Client, fields: dict, code: str, param: str) -> None:
    """What cannot be done is refused, by code and field."""
    response = http.post(PATH, json={"model": "vectors"} | fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param), error
