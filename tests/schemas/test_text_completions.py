"""What of a text request an engine is asked."""

import pytest
from openai.types.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.embedding_create_params import EmbeddingCreateParams

from schemas.embeddings import EmbeddingRequest
from schemas.prompts import count_prompts, count_tokens, estimate_tokens
from schemas.text_completions import TextRequest, to_upstream


def upstream(**fields) -> dict:
    request = TextRequest.model_validate({"model": "public", "prompt": "a"} | fields)
    return to_upstream(request, cache_salt="salt")


@pytest.mark.parametrize(
    ("params", "model"),
    [
        (CompletionCreateParamsNonStreaming, TextRequest),
        (CompletionCreateParamsStreaming, TextRequest),
        (EmbeddingCreateParams, EmbeddingRequest),
    ],
)
def test_every_documented_field_is_known(params: type, model: type) -> None:
    """Whatever the newest SDK can send is taken or refused by name, never "unknown"."""
    assert set(params.__annotations__) <= set(model.model_fields)


def test_what_shapes_the_answer_goes_on() -> None:
    """Sampling reaches the engine as it was sent; the model's name and the user do not."""
    fields = {
        "echo": True, "frequency_penalty": 1, "logit_bias": {"5": 1}, "logprobs": 2,
        "max_tokens": 5, "n": 2, "presence_penalty": -1, "prompt": ["a", "b"], "seed": 1,
        "stop": ["x"], "temperature": 0.5, "top_p": 0.9,
    }  # fmt: skip
    assert upstream(**fields, user="u", suffix="") == fields | {"cache_salt": "salt"}


def test_null_is_absent() -> None:
    """A field that is null is as if it had not been sent."""
    nulls = dict.fromkeys(set(TextRequest.model_fields) - {"model", "prompt"})
    assert upstream(**nulls) == upstream() == {"prompt": "a", "cache_salt": "salt"}


def test_best_of() -> None:
    """More candidates than answers are made, with what tells the best; as many are not."""
    more = upstream(best_of=3, n=2, temperature=0)
    assert (more["n"], more["logprobs"], more["top_k"]) == (3, 0, 1)
    assert upstream(best_of=2, n=2) == upstream(n=2)
    assert upstream(best_of=0) == upstream()


@pytest.mark.parametrize(
    ("prompt", "n_prompts", "n_tokens", "estimate"),
    [("a" * 8, 1, 0, 2), (["a" * 8, "b"], 2, 0, 2), ([1, 2], 1, 2, 2), ([[1, 2], [3]], 2, 3, 3)],
)
def test_counts(prompt: object, n_prompts: int, n_tokens: int, estimate: int) -> None:
    """Prompts and tokens are counted in each of the four forms."""
    counts = (count_prompts(prompt), count_tokens(prompt), estimate_tokens(prompt))
    assert counts == (n_prompts, n_tokens, estimate)
