"""An engine's rendering held against training's, with an engine that renders as it is told.

`test_real_engine.py` asks a real vLLM the same.
"""

import json
from pathlib import Path

import pytest

from schemas.errors import ModelServerUnavailable
from schemas.rendering import RenderingSample, RenderingSamples
from schemas.training_file import Tool, chat_messages
from serving.rendering import RenderingReport, compare_rendering
from serving.vllm import AdapterMissing, NotOffered, Vllm
from tests.serving.scripted_vllm import ScriptedVllm, error_body, serving

pytestmark = pytest.mark.anyio

FIND = Tool.model_validate({"type": "function", "function": {"name": "find", "strict": None}})
CALL = {"id": "c", "type": "function", "function": {"name": "find", "arguments": "{}"}}
MESSAGES = [
    {"role": "user", "content": "the secret"},
    {"role": "assistant", "content": None, "tool_calls": [CALL], "weight": 0},
    {"role": "tool", "content": "x", "tool_call_id": "c"},
]


def samples(*tokens: list[int], tools: tuple[Tool, ...] = (), also=()) -> RenderingSamples:
    return RenderingSamples(
        template_digest="t",
        reads_clock=False,
        samples=[
            RenderingSample(
                messages=chat_messages.validate_python(MESSAGES),
                tools=list(tools),
                token_ids=ids,
                also_right=list(also),
            )
            for ids in tokens
        ],
    )


def rendering(*token_ids: int):
    """An engine that makes these tokens of whatever it is asked."""
    return ScriptedVllm(renders=lambda _: (200, json.dumps({"tokens": token_ids})))


async def compared(
    engine: ScriptedVllm, directory: Path, asked: RenderingSamples
) -> RenderingReport:
    async with serving(engine, directory) as url, Vllm(url) as vllm:
        return await compare_rendering(vllm, asked, model="base-1")


async def test_the_engine_is_asked_as_for_a_client(short_tmp_path):
    """The engine gets the messages as a client's request would bring them, and tools, and the prompt's end."""
    engine = rendering(1, 2)
    report = await compared(engine, short_tmp_path, samples([1, 2], tools=(FIND,)))
    assert report.differences == []
    assert engine.asked_to_render == [
        {
            "model": "base-1",
            "messages": [
                MESSAGES[0],
                {"role": "assistant", "tool_calls": [CALL]},
                MESSAGES[2],
            ],
            "tools": [{"type": "function", "function": {"name": "find", "strict": None}}],
            "add_generation_prompt": True,
        }
    ]


async def test_a_difference_is_told_without_what_was_said(short_tmp_path):
    """Where tokens differ, the report says where and of which kind, and quotes neither text nor tokens."""
    report = await compared(rendering(7, 8, 9), short_tmp_path, samples([7, 8, 9], [7, 8, 777]))
    (difference,) = report.differences
    assert (difference.number, difference.parts_at) == (2, 2)
    assert not report.is_all_different
    assert "renders 1 of 2 conversations" in report.sentence
    assert "they part after 2" in report.sentence
    assert "777" not in report.sentence
    assert "secret" not in report.sentence


async def test_a_longer_prompt_is_a_difference(short_tmp_path):
    """A prompt that goes on where training's ended is another prompt; that of another day is not."""
    longer = await compared(rendering(7, 8, 9), short_tmp_path, samples([7, 8], tools=(FIND,)))
    assert longer.is_all_different
    assert "renders all, each with tools, of 1 conversations" in longer.sentence
    other_day = await compared(rendering(7, 9), short_tmp_path, samples([7, 8], also=[[7, 9]]))
    assert other_day.differences == []


async def test_a_template_that_refuses_differs(short_tmp_path):
    """An engine whose template refuses what training rendered does not render as training did."""
    refusing = ScriptedVllm(renders=lambda _: (400, error_body("System role not supported")))
    report = await compared(refusing, short_tmp_path, samples([1]))
    assert report.differences[0].n_served is None
    assert "refuses sample 1" in report.sentence


async def test_no_such_route_is_told_apart(short_tmp_path):
    """An engine that serves no /tokenize is not one that renders otherwise, nor one that lacks the model."""
    with pytest.raises(NotOffered):
        await compared(ScriptedVllm(), short_tmp_path, samples([1]))
    unknown = ScriptedVllm(
        renders=lambda _: (404, error_body("The model does not exist", code=404))
    )
    with pytest.raises(AdapterMissing):
        await compared(unknown, short_tmp_path, samples([1]))
    broken = ScriptedVllm(renders=lambda _: (500, error_body("…", code=500)))
    with pytest.raises(ModelServerUnavailable):
        await compared(broken, short_tmp_path, samples([1]))
