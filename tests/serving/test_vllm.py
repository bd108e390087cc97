"""The client of vLLM, against a server that does on command what a real one does rarely."""

from pathlib import Path

import pytest

from schemas.errors import InvalidRequest, ModelServerUnavailable
from serving.vllm import AdapterMissing, AdapterRejected, Vllm
from tests.serving.scripted_vllm import ScriptedVllm, error_body, serving

pytestmark = pytest.mark.anyio

LONG = (
    "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 input "
    "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input "
    "prompt. (parameter=input_tokens, value=1025)"
)
VERY_LONG = (
    "This model's maximum context length is 1024 tokens. However, your prompt contains 40050 characters (more "
    "than 13312 characters, which is the upper bound for 1024 input tokens). Please reduce the length of the "
    "input prompt. (parameter=input_text, value=40050)"
)
GREEDY = "max_tokens=5000 cannot be greater than max_model_len=1024. Please request fewer output tokens. (parameter=max_tokens, value=5000)"
PYDANTIC = "1 validation error:\n  {'type': 'float_parsing', 'loc': 'body.temperature', 'msg': 'Input should be a valid number', 'input': 'x'}"


async def refuse(directory: Path, status: int, body: str) -> Exception:
    """Return what a chat request raises where vLLM answers this."""
    engine = ScriptedVllm(chat_status=status, chat_pieces=[body.encode()])
    async with serving(engine, directory) as url, Vllm(url) as vllm:
        with pytest.raises((InvalidRequest, ModelServerUnavailable)) as refused:
            async with vllm.chat({"model": "adapter-1"}):
                pass
    return refused.value


async def events_of(engine: ScriptedVllm, directory: Path) -> list[bytes]:
    async with (
        serving(engine, directory) as url,
        Vllm(url) as vllm,
        vllm.chat({"stream": True}) as answer,
    ):
        return [event async for event in answer.events()]


async def test_events_are_whole_however_they_arrive(short_tmp_path):
    """Events that come cut in the middle of a letter, or several at once, are yielded one by one."""
    text = 'data: {"a":"ö"}\n\ndata: {"b":1}\n\ndata: [DONE]\n\n'.encode()
    pieces = [text[:13], text[13:16], text[16:30], text[30:]]
    events = await events_of(ScriptedVllm(chat_pieces=pieces), short_tmp_path)
    assert events == ['data: {"a":"ö"}\n\n'.encode(), b'data: {"b":1}\n\n', b"data: [DONE]\n\n"]


async def test_a_large_event_is_one_event(short_tmp_path):
    """An event larger than any buffer on the way stays whole."""
    event = b"data: " + b"x" * 3_000_000 + b"\n\n"
    assert await events_of(ScriptedVllm(chat_pieces=[event]), short_tmp_path) == [event]


async def test_a_stream_that_breaks_off_says_so(short_tmp_path):
    """When vLLM dies in the middle, what came is yielded and then an error raised, not an end."""
    engine = ScriptedVllm(chat_pieces=[b'data: {"a":1}\n\nda'], breaks_off=True)
    async with (
        serving(engine, short_tmp_path) as url,
        Vllm(url) as vllm,
        vllm.chat(b"{}") as answer,
    ):
        events = answer.events()
        assert await anext(events) == b'data: {"a":1}\n\n'
        with pytest.raises(ModelServerUnavailable):
            await anext(events)


async def test_a_whole_answer_that_breaks_off_says_so(short_tmp_path):
    """Half an answer is an error, not an answer."""
    engine = ScriptedVllm(chat_pieces=[b'{"id":'], breaks_off=True)
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        with pytest.raises(ModelServerUnavailable):
            async with vllm.chat(b"{}") as answer:
                await answer.read()


@pytest.mark.parametrize("url", ["unix:///nowhere/vllm.sock", "http://127.0.0.1:9"])
async def test_an_engine_that_is_not_there_is_unavailable(url):
    """Where nobody listens, health is false and everything else a 503."""
    async with Vllm(url) as vllm:
        assert not await vllm.is_healthy()
        with pytest.raises(ModelServerUnavailable):
            await vllm.load_adapter("a", Path("/a"))
        with pytest.raises(ModelServerUnavailable):
            async with vllm.chat(b"{}"):
                pass


async def test_an_unknown_model_is_an_adapter_to_load(short_tmp_path):
    """A 404 raises `AdapterMissing`, and shows none of the names that vLLM lists."""
    body = error_body("The model `adapter-1` does not exist. Valid aliases: base-x.", code=404)
    refused = await refuse(short_tmp_path, 404, body)
    assert isinstance(refused, AdapterMissing)
    assert "base-x" not in refused.message


@pytest.mark.parametrize(
    ("message", "param", "code", "told"),
    [
        (
            LONG,
            "messages",
            "context_length_exceeded",
            (
                "This model's maximum context length is 1024 tokens. However, your messages resulted in at least "
                "1025 tokens. Please reduce the length of the messages."
            ),
        ),
        (
            VERY_LONG,
            "messages",
            "context_length_exceeded",
            (
                "This model's maximum context length is 1024 tokens. However, your messages resulted in 40050 "
                "characters. Please reduce the length of the messages."
            ),
        ),
        (
            GREEDY,
            "max_tokens",
            "invalid_value",
            (
                "max_tokens is too large: 5000. This model supports at most 1024 completion tokens, whereas you "
                "provided 5000."
            ),
        ),
        (
            PYDANTIC,
            "temperature",
            "invalid_value",
            "Invalid value for 'temperature': Input should be a valid number.",
        ),
        (
            "base-1a2b is not a multimodal model",
            "messages",
            "invalid_value",
            "Invalid content type. image_url is only supported by certain models.",
        ),
        (
            "adapter-9Zx and base-1a2b need /opt/models/x/config.json of vLLM. (parameter=x, value=[1])",
            "temperature",
            "invalid_value",
            "the model and the model need its directory of the model server.",
        ),
    ],
)
async def test_refusals_are_openais(short_tmp_path, message, param, code, told):
    """A refusal is told in OpenAI's words where it has some, and never with names or paths of ours."""
    body = error_body(message, param="body.temperature")
    refused = await refuse(short_tmp_path, 400, body)
    assert isinstance(refused, InvalidRequest)
    assert (refused.message, refused.param, refused.code) == (told, param, code)


@pytest.mark.parametrize("body", [error_body("EngineCore died at /opt/x", code=500), "<html>", ""])
@pytest.mark.parametrize("status", [401, 500, 502, 503])
async def test_failures_are_503(short_tmp_path, status, body):
    """Whatever vLLM says when it fails, the client hears 503 and when to come back, and no more."""
    refused = await refuse(short_tmp_path, status, body)
    assert isinstance(refused, ModelServerUnavailable)
    assert refused.retry_after > 0
    assert "/opt" not in refused.message


async def test_an_adapter_at_fault_is_rejected(short_tmp_path):
    """A load that fails by the adapter's fault, which vLLM calls 500, is no reason to try again."""
    message = "Call to add_lora method failed: LoRA rank 32 is greater than max_lora_rank 16."
    engine = ScriptedVllm(load_answers=[(500, message)])
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        with pytest.raises(
            AdapterRejected, match=r"LoRA rank 32 is greater than max_lora_rank 16\."
        ):
            await vllm.load_adapter("a", Path("/a"))


async def test_loading_twice_is_fine_from_the_same_path_only(short_tmp_path):
    """`Already loaded` is success where it is this adapter, and an error where it is another."""
    engine = ScriptedVllm(load_answers=[(400, "The lora adapter 'a' has already been loaded.")])
    engine.roots["a"] = "/a"
    async with serving(engine, short_tmp_path) as url, Vllm(url) as vllm:
        await vllm.load_adapter("a", Path("/a"))
        with pytest.raises(AdapterRejected):
            await vllm.load_adapter("a", Path("/b"))
