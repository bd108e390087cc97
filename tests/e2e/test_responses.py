"""`/v1/responses` on a real engine."""

import json

import pytest

pytestmark = pytest.mark.engine

NANO = "retune-nano"


def test_responses_of_a_real_engine(client):
    """Streamed and whole say the same, counts agree, probabilities and schemas are real, a conversation goes on."""
    asked = {"model": NANO, "input": "What is the capital of France?", "temperature": 0}
    asked |= {"max_output_tokens": 16, "top_logprobs": 2}
    whole = client.responses.create(**asked)
    assert whole.status in {"completed", "incomplete"}
    part = whole.output[0].content[0]
    assert len(part.logprobs) >= whole.usage.output_tokens - 1  # all but the end's own token
    assert all(len(token.top_logprobs) == 2 for token in part.logprobs)
    counted = client.responses.input_tokens.count(model=NANO, input=asked["input"])
    assert counted.input_tokens == whole.usage.input_tokens

    with client.responses.stream(**asked) as stream:
        events = list(stream)
    assert events[-1].type in {"response.completed", "response.incomplete"}
    deltas = [event for event in events if event.type == "response.output_text.delta"]
    assert "".join(event.delta for event in deltas) == whole.output_text
    assert events[-1].response.usage.total_tokens == whole.usage.total_tokens

    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    schema["additionalProperties"] = False
    text = {"format": {"type": "json_schema", "name": "number", "schema": schema, "strict": True}}
    more = client.responses.create(
        model=NANO, input="A number, please.", previous_response_id=whole.id, text=text
    )
    assert json.loads(more.output_text)["n"] in {1, 2}
    assert more.usage.input_tokens > whole.usage.input_tokens
