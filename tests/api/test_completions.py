"""`/v1/completions`, asked by OpenAI's own SDK."""

import httpx
import openai
import pytest
from openai import OpenAI

from tests.api_server import Server

PATH = "/v1/completions"
ASKED = {"model": "nano", "prompt": "On"}


def test_text(strict: OpenAI, server: Server) -> None:
    """A whole answer bears our id and the public name, and none of the engine's fields."""
    answer = strict.completions.create(model="gpt-4o-mini", prompt="On", max_tokens=5, user="me")
    assert answer.choices[0].text == " and so on 0"
    assert (answer.model, answer.object, answer.id[:5]) == ("nano", "text_completion", "cmpl-")
    assert answer.choices[0].finish_reason == "length"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)
    assert not {"kv_transfer_params", "service_tier"} & answer.model_extra.keys()
    asked = server.engine.requests[-1]
    assert asked.keys() == {"model", "prompt", "max_tokens", "cache_salt"}


@pytest.mark.parametrize(
    ("prompt", "n_prompts"), [("a", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)]
)
def test_kinds_of_prompts(client: OpenAI, prompt: object, n_prompts: int) -> None:
    """A text, texts, token ids, and lists of them each get `n` answers, in order."""
    answer = client.completions.create(model="nano", prompt=prompt, n=2, temperature=0)
    assert [choice.index for choice in answer.choices] == list(range(2 * n_prompts))


def test_tuned_model(client: OpenAI, server: Server) -> None:
    """A tuned model continues text under its own name."""
    name = server.add_tuned_model()
    assert client.completions.create(model=name, prompt="On").model == name
    assert server.engine.requests[-1]["model"].startswith("adapter-")


def test_stream(client: OpenAI) -> None:
    """Pieces of two prompts carry one id and say which one they belong to; the last tells the usage."""
    stream = client.completions.create(
        model="nano", prompt=["a", "b"], stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = stream
    for index in (0, 1):
        mine = [chunk.choices[0] for chunk in chunks if chunk.choices[0].index == index]
        assert "".join(choice.text for choice in mine) == " and so on 0"
        assert [choice.finish_reason for choice in mine] == [None, None, None, "length"]
    assert len({chunk.id for chunk in [*chunks, last]}) == 1
    assert {chunk.usage for chunk in chunks} == {None}
    assert (last.choices, last.usage.total_tokens) == ([], 12)


def test_stream_without_usage(http: httpx.Client) -> None:
    """Where nobody asked for usage, no event has it, and the stream ends as all do."""
    events = http.post(PATH, json=ASKED | {"stream": True}).text.strip().split("\n\n")
    assert events[-1] == "data: [DONE]"
    assert len(events) == 5
    assert not any("usage" in event for event in events)


def test_stream_that_breaks(client: OpenAI) -> None:
    """When the engine dies in the middle of a text, the SDK raises."""
    with pytest.raises(openai.APIError, match="did not answer"):
        list(client.completions.create(model="nano", prompt="break", stream=True))


def test_echo_with_logprobs(client: OpenAI) -> None:
    """An echo begins with the prompt, whose first token has no likelihood."""
    answer = client.completions.create(model="nano", prompt="On", echo=True, logprobs=2)
    choice = answer.choices[0]
    assert choice.text == "On and so on 0"
    assert choice.logprobs.tokens[:2] == ["On", " and"]
    assert choice.logprobs.token_logprobs[:2] == [None, -1.0]
    assert choice.logprobs.top_logprobs[1] == {" and": -1.0}
    assert choice.logprobs.text_offset[:3] == [0, 2, 6]


def test_scores_of_a_prompt(client: OpenAI) -> None:
    """`echo` with no tokens tells how likely the prompt is; the token that the engine makes does not count."""
    answer = client.completions.create(
        model="nano", prompt="On", echo=True, logprobs=0, max_tokens=0
    )
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("On", "length")
    assert (answer.usage.completion_tokens, answer.usage.total_tokens) == (0, 2)


def test_best_of(client: OpenAI, server: Server) -> None:
    """Of `best_of` candidates the `n` likeliest are answered, the best first; all that was made counts."""
    answer = client.completions.create(model="nano", prompt=["a", "b"], best_of=4, n=2)
    texts = [choice.text for choice in answer.choices]
    assert texts == [" and so on 3", " and so on 2"] * 2
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert {choice.logprobs for choice in answer.choices} == {None}
    assert answer.usage.completion_tokens == 32
    assert (server.engine.requests[-1]["n"], server.engine.requests[-1]["logprobs"]) == (4, 0)


BAD = [
    ({}, "missing_required_parameter", "prompt"),
    ({"prompt": None}, "invalid_type", "prompt"),
    ({"prompt": ""}, "string_below_min_length", "prompt"),
    ({"prompt": []}, "empty_array", "prompt"),
    ({"prompt": ["a"] * 129}, "array_above_max_length", "prompt"),
    ({"prompt": [-1]}, "integer_below_min_value", "prompt[0]"),
    ({"prompt": ["a"] * 100, "n": 3}, "invalid_value", "prompt"),
    ({"prompt": "a", "n": 9}, "integer_above_max_value", "n"),
    ({"prompt": "a", "logprobs": 6}, "integer_above_max_value", "logprobs"),
    ({"prompt": "a", "suffix": "z"}, "unsupported_parameter", "suffix"),
    ({"prompt": "a", "best_of": 21}, "integer_above_max_value", "best_of"),
    ({"prompt": "a", "best_of": 1, "n": 2}, "invalid_value", "best_of"),
    ({"prompt": "a", "best_of": 2, "stream": True}, "invalid_value", "best_of"),
    ({"prompt": "a", "best_of": 2, "echo": True}, "unsupported_value", "echo"),
    ({"prompt": "a", "max_tokens": 0}, "invalid_value", "max_tokens"),
    ({"prompt": "a", "stream_options": {}}, "invalid_value", "stream_options"),
    ({"prompt": "a", "prompt_embeds": "x"}, "unknown_parameter", "prompt_embeds"),
    ({"prompt": "a", "use_beam_search": True}, "unknown_parameter", "use_beam_search"),
]


@pytest.mark.parametrize(("fields", "code", "param"), BAD)
def test_bad_requests(http: httpx.Client, fields: dict, code: str, param: str) -> None:
    """What cannot be done is refused, by code and field."""
    response = http.post(PATH, json={"model": "nano"} | fields)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (400, code, param), error


def test_models_that_make_no_text(client: OpenAI) -> None:
    """A base that embeds says so, and an unknown model is unknown."""
    with pytest.raises(openai.PermissionDeniedError, match="not allowed to sample"):
        client.completions.create(model="vectors", prompt="a")
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.completions.create(model="gpt-9", prompt="a")
