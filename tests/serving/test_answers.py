"""vLLM's answers in OpenAI's shape; what is fed in was recorded from vLLM 0.32."""

import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from schemas.errors import ModelServerUnavailable
from serving.answers import (
    Envelope,
    fingerprint_of,
    read_completion,
    rewrite_event,
    stream_error,
)

ENVELOPE = Envelope(
    id="chatcmpl-abc", model="ft:nano:acme::Ajo5kvNY", system_fingerprint=fingerprint_of("a", "b")
)
WITH_USAGE = ENVELOPE.model_copy(update={"include_usage": True})

ANSWER = {
    "id": "chatcmpl-87c14f6710951bd4",
    "object": "chat.completion",
    "created": 1795233131,
    "model": "base-x",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hi!",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "function_call": None,
                "reasoning": None,
            },
            "logprobs": {
                "content": [
                    {
                        "token": "Hi",
                        "logprob": -0.66,
                        "bytes": [72, 105],
                        "top_logprobs": [{"token": "Hi", "logprob": -0.66, "bytes": [72, 105]}],
                    }
                ]
            },
            "finish_reason": "length",
            "stop_reason": None,
            "token_ids": None,
            "routed_experts": None,
        }
    ],
    "service_tier": None,
    "system_fingerprint": "vllm-0.32.0-dc7f16b7",
    "usage": {
        "prompt_tokens": 13,
        "total_tokens": 17,
        "completion_tokens": 4,
        "prompt_tokens_details": {
            "cached_tokens": 8,
            "created_cache_tokens": 0,
            "multimodal_tokens": None,
        },
        "completion_tokens_details": None,
    },
    "prompt_logprobs": None,
    "prompt_token_ids": None,
    "prompt_text": None,
    "kv_transfer_params": None,
    "ec_transfer_params": None,
    "metrics": None,
}


def answer_with(**choice: object) -> bytes:
    return json.dumps(ANSWER | {"choices": [ANSWER["choices"][0] | choice]}).encode()


def chunk(*choices: dict, **fields: object) -> bytes:
    body = {
        "id": "chatcmpl-bc7115705331cd12",
        "object": "chat.completion.chunk",
        "created": 1795233148,
        "model": "base-x",
        "choices": list(choices),
    }
    return b"data: " + json.dumps(body | fields).encode() + b"\n\n"


def choice(delta: dict, finish_reason: str | None = None) -> dict:
    return {
        "index": 0,
        "delta": delta,
        "logprobs": None,
        "finish_reason": finish_reason,
        "token_ids": None,
    }


def rewritten(event: bytes, envelope: Envelope = ENVELOPE) -> list[dict]:
    events = rewrite_event(event, envelope).split(b"\n\n")[:-1]
    return [json.loads(event.removeprefix(b"data: ")) for event in events]


LEGACY = ENVELOPE.model_copy(update={"calls_functions": True})
CALL = {"id": "chatcmpl-tool-1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def test_call_of_a_function():
    """Where `functions` were offered, a call has the deprecated shape, without an id."""
    body = answer_with(message={"content": None, "tool_calls": [CALL]}, finish_reason="tool_calls")
    told = read_completion(body, LEGACY).model_dump(mode="json")["choices"][0]
    assert told["finish_reason"] == "function_call"
    assert told["message"]["function_call"] == {"name": "f", "arguments": "{}"}
    assert "tool_calls" not in told["message"]


def test_streamed_call_of_a_function():
    """Its pieces have the deprecated shape too."""
    pieces = [
        {"index": 0, **CALL, "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
    ]
    told = [
        body["choices"][0]
        for piece in pieces
        for body in rewritten(chunk(choice({"tool_calls": [piece]})), LEGACY)
    ]
    assert [part["delta"] for part in told] == [
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": "{}"}},
    ]
    end = rewritten(chunk(choice({}, "tool_calls")), LEGACY)[0]["choices"][0]
    assert end["finish_reason"] == "function_call"


def test_whole_answer_is_openais():
    """A whole answer has exactly OpenAI's fields, each in its place, and none of vLLM's."""
    body = read_completion(json.dumps(ANSWER).encode(), ENVELOPE).model_dump(mode="json")
    assert body == {
        "id": "chatcmpl-abc",
        "object": "chat.completion",
        "created": 1795233131,
        "model": "ft:nano:acme::Ajo5kvNY",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hi!",
                    "refusal": None,
                    "annotations": [],
                },
                "logprobs": {
                    "content": ANSWER["choices"][0]["logprobs"]["content"],
                    "refusal": None,
                },
                "finish_reason": "length",
            }
        ],
        "usage": {
            "prompt_tokens": 13,
            "completion_tokens": 4,
            "total_tokens": 17,
            "prompt_tokens_details": {"cached_tokens": 8, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": 0,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        },
        "service_tier": "default",
        "system_fingerprint": fingerprint_of("a", "b"),
    }


def test_whole_answer_pleases_the_strict_sdk():
    """OpenAI's own model accepts an answer without a single conversion or unknown field."""
    body = read_completion(json.dumps(ANSWER).encode(), ENVELOPE).model_dump_json()
    parsed = ChatCompletion.model_validate_json(body, strict=True)
    parts = (parsed, parsed.choices[0], parsed.choices[0].message, parsed.usage)
    assert [part.model_extra for part in parts] == [{}] * len(parts)


def test_logprobs_are_null_when_not_asked_for():
    """A choice always has `logprobs`, null where the request did not ask."""
    body = read_completion(answer_with(logprobs=None), ENVELOPE).model_dump(mode="json")
    assert body["choices"][0]["logprobs"] is None


def test_tool_calls_have_openais_ids_and_no_content():
    """An answer of calls only has null content and ids that start with `call_`."""
    call = {
        "id": "chatcmpl-tool-9af1",
        "type": "function",
        "function": {"name": "f", "arguments": "{}"},
    }
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    body = answer_with(message=message, finish_reason="tool_calls")
    answered = read_completion(body, ENVELOPE).model_dump(mode="json")["choices"][0]
    assert answered["message"]["content"] is None
    assert answered["message"]["tool_calls"] == [call | {"id": "call_9af1"}]
    assert answered["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(
    ("vllms", "openais"),
    [("stop", "stop"), ("length", "length"), ("abort", "length"), ("repetition", "length")],
)
def test_finish_reasons_are_openais(vllms, openais):
    """A reason that OpenAI does not have becomes the nearest one it has."""
    answer = read_completion(answer_with(finish_reason=vllms), ENVELOPE)
    assert answer.choices[0].finish_reason == openais


def test_first_chunk_opens_the_message():
    """A stream begins with role, empty content and null refusal."""
    first = chunk(choice({"role": "assistant", "content": ""}), prompt_token_ids=None)
    [event] = rewritten(first)
    assert event["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": "", "refusal": None},
            "logprobs": None,
            "finish_reason": None,
        }
    ]


def test_chunks_are_openais():
    """A chunk has exactly OpenAI's fields, and the envelope's names."""
    [event] = rewritten(chunk(choice({"content": "wörld"})))
    assert event == {
        "id": "chatcmpl-abc",
        "object": "chat.completion.chunk",
        "created": 1795233148,
        "model": "ft:nano:acme::Ajo5kvNY",
        "service_tier": "default",
        "system_fingerprint": fingerprint_of("a", "b"),
        "choices": [
            {"index": 0, "delta": {"content": "wörld"}, "logprobs": None, "finish_reason": None}
        ],
    }


def test_chunks_please_the_strict_sdk():
    """OpenAI's own model accepts a chunk without a single conversion or unknown field."""
    text = rewrite_event(chunk(choice({"content": "x"})), WITH_USAGE).removeprefix(b"data: ")
    parsed = ChatCompletionChunk.model_validate_json(text, strict=True)
    parts = (parsed, parsed.choices[0], parsed.choices[0].delta)
    assert [part.model_extra for part in parts] == [{}] * len(parts)


def test_the_end_comes_by_itself():
    """Where vLLM ends a choice with its last words, the client gets the words, then an empty delta."""
    words, end = rewritten(chunk(choice({"content": "bye"}, "stop")))
    assert words["choices"][0]["delta"] == {"content": "bye"}
    assert words["choices"][0]["finish_reason"] is None
    assert end["choices"][0]["delta"] == {}
    assert end["choices"][0]["finish_reason"] == "stop"


def test_an_end_without_words_is_one_chunk():
    """An end that vLLM sends alone stays one chunk."""
    [end] = rewritten(chunk(choice({}, "length"), system_fingerprint="vllm-0.32.0-dc7f16b7"))
    assert end["choices"][0] == {
        "index": 0,
        "delta": {},
        "logprobs": None,
        "finish_reason": "length",
    }


def test_tool_call_pieces_keep_their_call():
    """The pieces of a call carry its index; the first also its id, in OpenAI's form."""
    first = {"index": 0, "id": "chatcmpl-tool-9af1", "type": "function", "function": {"name": "f"}}
    rest = {"index": 0, "function": {"arguments": '{"a"'}}
    [opening] = rewritten(chunk(choice({"tool_calls": [first]})))
    [going_on] = rewritten(chunk(choice({"tool_calls": [rest]})))
    assert opening["choices"][0]["delta"] == {"tool_calls": [first | {"id": "call_9af1"}]}
    assert going_on["choices"][0]["delta"] == {"tool_calls": [rest]}


def test_usage_comes_last_and_is_null_before():
    """With `include_usage` each chunk has null usage, and one without choices has the numbers."""
    [before] = rewritten(chunk(choice({"content": "x"})), WITH_USAGE)
    [last] = rewritten(chunk(usage=ANSWER["usage"]), WITH_USAGE)
    assert before["usage"] is None
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 17
    assert last["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_usage_that_nobody_asked_for_is_dropped():
    """Without `include_usage` no chunk has usage, even if vLLM sends it for our own counting."""
    [before] = rewritten(chunk(choice({"content": "x"}), usage=ANSWER["usage"]))
    assert "usage" not in before
    assert rewritten(chunk(usage=ANSWER["usage"])) == []


def test_done_passes():
    """The end of a stream is the end of a stream."""
    assert rewrite_event(b"data: [DONE]\n\n", ENVELOPE) == b"data: [DONE]\n\n"


def test_an_error_in_a_stream_is_raised_without_its_words():
    """An error of vLLM's in the middle of a stream ends the reading, and says nothing of its insides."""
    error = b'data: {"error":{"message":"EngineCore died at /opt/x","type":"InternalServerError","param":null,"code":500}}\n\n'
    with pytest.raises(ModelServerUnavailable) as raised:
        rewrite_event(error, ENVELOPE)
    assert "/opt" not in raised.value.message


def test_a_broken_stream_ends_with_openais_envelope():
    """The event that tells of a break has the four keys that the SDKs raise on."""
    event = stream_error("x")
    assert event.endswith(b"\n\n")
    error = json.loads(event.removeprefix(b"data: "))["error"]
    assert error == {"message": "x", "type": "server_error", "param": None, "code": None}


def test_fingerprints_follow_their_origins():
    """Other weights make another fingerprint; the same weights the same."""
    assert fingerprint_of("ab", "c") != fingerprint_of("a", "bc")
    assert fingerprint_of("ab", "c") == fingerprint_of("ab", "c")
