"""What the tests' engine says to requests for text and for vectors; see `tests.fake_engine`."""

import base64
import json
import struct
from collections.abc import Iterator

TEXT_WORDS = (" and", " so", " on")


def prompts_of(asked: dict) -> list[str]:
    """The prompts as texts; token ids are shown as such."""
    prompt = asked["prompt"]
    several = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    return [one if isinstance(one, str) else f"<{len(one)} tokens>" for one in several]


def text_completion(asked: dict) -> dict:
    """Answer as vLLM 0.32 does; each further candidate is likelier than those before."""
    n = asked.get("n") or 1
    choices = [
        {
            "index": place * n + candidate, "text": text, "finish_reason": "length",
            "logprobs": _logprobs(asked, prompt, words, candidate), "stop_reason": None,
            "token_ids": None, "prompt_logprobs": None, "prompt_token_ids": None,
            "routed_experts": None,
        }
        for place, prompt in enumerate(prompts_of(asked))
        for candidate in range(n)
        for words in [_words(asked, candidate)]
        for text in [(prompt if asked.get("echo") else "") + "".join(words)]
    ]  # fmt: skip
    return {
        "id": "cmpl-internal", "object": "text_completion", "created": 1_760_000_000,
        "model": asked["model"], "choices": choices, "service_tier": None, "metrics": None,
        "system_fingerprint": "vllm-0.32.0-abc", "usage": _usage(asked),
        "kv_transfer_params": None, "ec_transfer_params": None,
    }  # fmt: skip


def text_events(asked: dict) -> Iterator[bytes]:
    """Stream the same."""

    def event(choices: list[dict], **more) -> bytes:
        chunk = {
            "id": "cmpl-internal", "object": "text_completion", "created": 1_760_000_000,
            "model": asked["model"], "choices": choices,
        }  # fmt: skip
        return b"data: " + json.dumps(chunk | more).encode() + b"\n\n"

    for index, prompt in enumerate(prompts_of(asked)):
        words = [*([prompt] if asked.get("echo") else []), *_words(asked, 0)]
        for word in words:
            end = {"finish_reason": "length", "stop_reason": None} if word is words[-1] else {}
            choice = {"index": index, "text": word, "logprobs": None, "finish_reason": None}
            yield event([choice | end])
    if (asked.get("stream_options") or {}).get("include_usage"):
        yield event([], usage=_usage(asked), system_fingerprint="vllm-0.32.0-abc")
    yield b"data: [DONE]\n\n"


def embeddings(asked: dict) -> dict:
    """Answer with two numbers for each input: its place and a half."""
    inputs = asked["input"]
    several = isinstance(inputs, list) and not isinstance(inputs[0], int)
    n_inputs = len(inputs) if several else 1
    vectors = [base64.b64encode(struct.pack("<2f", place, 0.5)) for place in range(n_inputs)]
    return {
        "id": "embd-internal", "object": "list", "created": 1_760_000_000, "model": asked["model"],
        "data": [
            {"index": place, "object": "embedding", "embedding": vector.decode()}
            for place, vector in enumerate(vectors)
        ],
        "usage": {
            "prompt_tokens": 3 * n_inputs, "total_tokens": 3 * n_inputs, "completion_tokens": 0,
            "prompt_tokens_details": None,
        },
    }  # fmt: skip


def _words(asked: dict, candidate: int) -> list[str]:
    if asked.get("max_tokens") == 0:
        return []
    return [*TEXT_WORDS, f" {candidate}"]


def _logprobs(asked: dict, prompt: str, words: list[str], candidate: int) -> dict | None:
    if asked.get("logprobs") is None:
        return None
    drawn = -1 / (candidate + 1)
    echoed = [prompt] if asked.get("echo") else []
    tokens = [*echoed, *words]
    offsets = [len("".join(tokens[:place])) for place in range(len(tokens))]
    return {
        "tokens": tokens,
        "token_logprobs": [*(None for _ in echoed), *(drawn for _ in words)],
        "top_logprobs": [*(None for _ in echoed), *({word: drawn} for word in words)],
        "text_offset": offsets,
    }


def _usage(asked: dict) -> dict:
    n_prompts, n = len(prompts_of(asked)), asked.get("n") or 1
    # vLLM makes a token, and counts it, also where none was asked for.
    made = n_prompts * n * (1 if asked.get("max_tokens") == 0 else 4)
    told = 2 * n_prompts
    return {"prompt_tokens": told, "completion_tokens": made, "total_tokens": told + made}
