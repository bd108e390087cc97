"""What of a chat request an engine is asked."""

import pytest
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from pydantic import ValidationError

from schemas.chat import ChatRequest, to_upstream

HELLO = [{"role": "user", "content": "hello"}]


def upstream(**fields) -> dict:
    request = ChatRequest.model_validate({"model": "public", "messages": HELLO} | fields)
    return to_upstream(request, cache_salt="salt")


@pytest.mark.parametrize(
    "params", [CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming]
)
def test_every_documented_field_is_known(params: type) -> None:
    """Whatever the newest SDK can send is taken or refused by name, never "unknown"."""
    assert set(params.__annotations__) <= set(ChatRequest.model_fields)


def test_names_are_ours() -> None:
    """The engine sees its own name of the model and a salt of ours."""
    assert upstream() == {"messages": HELLO, "cache_salt": "salt"}


def test_null_is_absent() -> None:
    """A field that is null is as if it had not been sent."""
    nulls = dict.fromkeys(set(ChatRequest.model_fields) - {"model", "messages"})
    assert upstream(**nulls) == upstream()


def test_what_means_nothing_here_stays_here() -> None:
    """Fields that do not touch the answer are accepted and go no further."""
    fields = {
        "user": "u", "metadata": {"a": "b"}, "store": False, "service_tier": "default",
        "safety_identifier": "s", "prompt_cache_key": "k", "prompt_cache_retention": "24h",
        "prompt_cache_options": {"ttl": "30m"}, "modalities": ["text"], "verbosity": "medium",
    }  # fmt: skip
    assert upstream(**fields) == upstream()


def test_what_shapes_the_answer_goes_on() -> None:
    """Sampling, tools and formats reach the engine as they were sent."""
    function = {"name": "f", "parameters": {"type": "object", "default": None}}
    fields = {
        "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop": ["a"], "n": 2, "logprobs": True,
        "top_logprobs": 3, "logit_bias": {"5": 1}, "frequency_penalty": 1, "presence_penalty": -1,
        "max_completion_tokens": 6, "parallel_tool_calls": False,
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        "reasoning_effort": "low", "stream": True,
    }  # fmt: skip
    always = {"stream_options": {"include_usage": True}}
    assert upstream(**fields) == upstream() | fields | always


def test_usage_of_a_stream() -> None:
    """Of `stream_options` only what the engine knows goes on, and usage is always asked for: it is counted."""
    options = {"include_usage": True, "include_obfuscation": False}
    asked = upstream(stream=True, stream_options=options)
    assert asked["stream_options"] == {"include_usage": True}
    assert upstream(stream=True)["stream_options"] == {"include_usage": True}
    assert "stream_options" not in upstream()


def test_several_greedy_answers() -> None:
    """Several answers at temperature 0 are asked for in a way that vLLM takes; one is left as it is."""
    several = upstream(n=2, temperature=0)
    assert (several["n"], several["temperature"], several["top_k"]) == (2, 1, 1)
    assert "top_k" not in upstream(n=1, temperature=0)


def test_no_probability_mass() -> None:
    """`top_p` 0, which vLLM refuses, becomes the smallest it takes."""
    assert 0 < upstream(top_p=0)["top_p"] < 1e-3


def test_messages() -> None:
    """Of messages, what a chat template can use goes on."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    sent = [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "assistant", "refusal": "no", "annotations": []},
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "never"}]},
        {"role": "user", "content": "", "name": "Ann"},
    ]
    assert upstream(messages=sent)["messages"] == [
        {"role": "developer", "content": "be kind"},
        {"role": "user", "content": [{"type": "text", "text": "a"}]},
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
        {"role": "assistant", "content": "no"},
        {"role": "assistant", "content": [{"type": "text", "text": "never"}]},
        {"role": "user", "content": "", "name": "Ann"},
    ]


WEATHER = {"name": "weather", "parameters": {"type": "object"}}
TIME = {"name": "time"}


def test_functions_are_tools_to_the_engine() -> None:
    """The deprecated `functions` are offered as tools, and one call at most is asked for."""
    asked = upstream(functions=[WEATHER, TIME], function_call={"name": "time"})
    assert asked["tools"] == [
        {"type": "function", "function": WEATHER},
        {"type": "function", "function": TIME},
    ]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "time"}}
    assert asked["parallel_tool_calls"] is False
    assert upstream(functions=[TIME], function_call="none")["tool_choice"] == "none"
    assert "tool_choice" not in upstream(functions=[TIME])


def test_calls_of_functions_are_rendered_as_in_training() -> None:
    """A call without an id and its answer reach the template as a tool's, under the id of training."""
    called = {"name": "time", "arguments": "{}"}
    sent = [
        {"role": "assistant", "content": None, "function_call": called},
        {"role": "function", "name": "time", "content": "noon"},
        {"role": "function", "name": "time", "content": None},
    ]
    answer = {"role": "tool", "name": "time", "tool_call_id": "call_function"}
    assert upstream(messages=sent)["messages"] == [
        {
            "role": "assistant",
            "tool_calls": [{"id": "call_function", "type": "function", "function": called}],
        },
        answer | {"content": "noon"},
        answer | {"content": ""},
    ]


def test_allowed_tools() -> None:
    """Of the tools, the engine is offered those that are allowed this time."""
    tools = [{"type": "function", "function": function} for function in (WEATHER, TIME)]
    named = {"type": "function", "function": {"name": "time"}}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [named]}}
    asked = upstream(tools=tools, tool_choice=choice)
    assert (asked["tools"], asked["tool_choice"]) == ([tools[1]], "required")


@pytest.mark.parametrize("size", [16, 17])
def test_depth_of_a_schema(size: int) -> None:
    """A schema may nest sixteen objects, and no more."""
    schema: dict = {"type": "string"}
    for _ in range(size - 1):
        schema = {"type": "object", "properties": {"inner": schema}}
    response_format = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    if size == 16:
        assert upstream(response_format=response_format)["response_format"] == response_format
    else:
        with pytest.raises(ValidationError, match="deeper than 32"):
            upstream(response_format=response_format)
