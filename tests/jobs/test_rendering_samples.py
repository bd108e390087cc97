"""Which conversations travel with an adapter, and what they should render to on another day."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from jobs.chat_template import ChatTemplate
from jobs.rendering import Renderer
from jobs.rendering_samples import SampleChooser, read_samples
from schemas.rendering import RENDERING, RenderingSamples
from schemas.training_file import ChatExample
from tests.jobs import chat_templates as templates
from tests.jobs.conversations import TOOLS, answer, call, parts, result, system, user

NOON = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
PLAIN = [user("a"), answer("b")]
CALL = [
    user("w?"),
    answer(None, tool_calls=[call()]),
    result("sunny"),
    answer("Sunny.", weight=1),
]


def chosen(renderer, *examples, context_length=4096) -> RenderingSamples:
    """What is kept of a file of these messages, or examples."""
    chooser = SampleChooser(renderer)
    for one in examples:
        fields = one if isinstance(one, dict) else {"messages": one}
        example = ChatExample.model_validate(fields)
        chooser.look_at(example, renderer.render(example, context_length))
    return chooser.chosen()


@pytest.fixture
def nano(nano_dir) -> Renderer:
    return Renderer.load(nano_dir)


def test_what_is_new_to_a_template_is_kept(nano):
    """Of many like examples three are kept, and each that has tools, calls, parts or the like."""
    with_tools = {"messages": CALL, "tools": TOOLS}
    with_parts = [system(parts("s")), user("a"), answer("b")]
    kept = chosen(nano, *[PLAIN] * 50, with_tools, *[PLAIN] * 50, with_tools, with_parts)
    assert [len(sample.messages) for sample in kept.samples] == [1, 1, 1, 3, 2]
    assert [bool(sample.tools) for sample in kept.samples] == [False] * 3 + [True, False]


def test_a_sample_is_the_prompt_of_a_trained_answer(nano):
    """A sample ends before the last answer that trains, and its tokens are those that the row begins with."""
    messages = [user("a"), answer("b"), user("c"), answer("d", weight=0)]
    (sample,) = chosen(nano, messages).samples
    (row,) = nano.rows(ChatExample.model_validate({"messages": messages}), 4096)
    assert [message.content for message in sample.messages] == ["a"]
    assert sample.token_ids == row.token_ids[: row.prompt_length]


@pytest.mark.parametrize(
    "messages",
    [[user("a"), answer("b", weight=0)], [answer("b")], [user("why " * 50), answer("b")]],
)
def test_what_was_not_trained_is_no_sample(nano, messages):
    """An example without a trained answer, or with one beyond the context, is not kept."""
    assert chosen(nano, messages, context_length=20).samples == []


def test_samples_come_back_as_they_were_written(nano, nano_dir, tmp_path):
    """What a trainer writes is read again in full; an adapter without the file carries none."""
    kept = chosen(nano, {"messages": CALL, "tools": TOOLS})
    (tmp_path / RENDERING).write_text(kept.model_dump_json())
    assert read_samples(tmp_path, nano_dir, now=NOON) == kept
    assert read_samples(nano_dir, nano_dir, now=NOON) is None


def test_a_spoilt_file_is_not_quoted(nano_dir, tmp_path):
    """A file that cannot be read is told of without its text, which is training data."""
    (tmp_path / RENDERING).write_text('{"template_digest": "my secret"}')
    with pytest.raises(ValueError, match="not what a trainer writes") as refused:
        read_samples(tmp_path, nano_dir, now=NOON)
    assert "secret" not in str(refused.value)


def dated_base(base_dir: Path, nano_dir: Path, source: str) -> Path:
    """A model directory without weights whose template asks for the time."""
    base_dir.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        (base_dir / name).write_bytes((nano_dir / name).read_bytes())
    (base_dir / "chat_template.jinja").write_text(source)
    return base_dir


def written_on(time: datetime, base_dir: Path, adapter_dir: Path) -> list[int]:
    """Write an adapter's samples at a time, and return the tokens of the one there is."""
    kept = chosen(Renderer.load(base_dir, clock=lambda: time), PLAIN)
    adapter_dir.mkdir()
    (adapter_dir / RENDERING).write_text(kept.model_dump_json())
    return kept.samples[0].token_ids


def test_a_dated_prompt_is_right_on_any_day(nano_dir, tmp_path):
    """Where the template prints the date, today's prompt is right, and those of the days around it."""
    source = templates.CHATML + "{{ strftime_now('%d %b %Y') }}"
    base_dir = dated_base(tmp_path / "base", nano_dir, source)
    trained = written_on(NOON - timedelta(days=40), base_dir, tmp_path / "adapter")
    (sample,) = read_samples(tmp_path / "adapter", base_dir, now=NOON).samples
    tokenizer = Tokenizer.from_file(str(nano_dir / "tokenizer.json"))
    assert [tokenizer.decode(ids)[-11:] for ids in sample.also_right] == [
        "21 Nov 2026",
        "20 Nov 2026",
        "22 Nov 2026",
    ]
    assert sample.token_ids == trained


def test_a_prompt_that_tells_the_hour_is_not_compared(nano_dir, tmp_path):
    """Where the template prints the hour, nobody can say what is right, and nothing is asked."""
    source = templates.CHATML + "{{ strftime_now('%H') }}"
    base_dir = dated_base(tmp_path / "base", nano_dir, source)
    written_on(NOON, base_dir, tmp_path / "adapter")
    assert read_samples(tmp_path / "adapter", base_dir, now=NOON).samples == []


def test_a_changed_template_excuses_nothing(nano_dir, tmp_path):
    """Once the base's template is another than training's, only what was trained on is right."""
    base_dir = dated_base(
        tmp_path / "base", nano_dir, templates.CHATML + "{{ strftime_now('%d') }}"
    )
    written_on(NOON, base_dir, tmp_path / "adapter")
    (base_dir / "chat_template.jinja").write_text("other {{ strftime_now('%d') }}")
    (sample,) = read_samples(tmp_path / "adapter", base_dir, now=NOON).samples
    assert sample.also_right == []


def test_what_a_template_is_told_of_the_time(nano_dir):
    """A template's clock is the renderer's, and a template without one says so."""
    template = ChatTemplate({"default": "{{ strftime_now('%Y') }}"}, {}, clock=lambda: NOON)
    assert template.render([], [], add_generation_prompt=True) == "2026"
    assert template.reads_clock
    assert not Renderer.load(nano_dir).reads_clock
    assert json.loads(chosen(Renderer.load(nano_dir)).model_dump_json())["reads_clock"] is False
