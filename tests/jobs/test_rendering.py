"""Conversations as token ids: what is asked, and which tokens are learned."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from jobs.chat_template import ChatTemplate, TemplateRefused
from jobs.rendering import Finding, Renderer
from schemas.errors import JobFailure
from schemas.training_file import ChatExample, chat_messages
from tests.jobs import chat_templates as templates
from tests.jobs.conversations import TOOLS, answer, call, result, system, user

ENOUGH = 4096
END = "<|im_end|>"


@pytest.fixture(scope="module")
def tokenizer_path(nano_dir) -> Path:
    return nano_dir / "tokenizer.json"


@pytest.fixture(scope="module")
def make_renderer(tokenizer_path):
    """Make a renderer of a template's source, with the tiny base's tokenizer."""

    def make(source: str, ends=(END, "<|endoftext|>")) -> Renderer:
        tokenizer = Tokenizer.from_file(str(tokenizer_path))
        ids = [tokenizer.token_to_id(end) for end in ends]
        return Renderer(tokenizer, ChatTemplate({"default": source}, {}), ids)

    return make


@pytest.fixture(scope="module")
def chatml(make_renderer) -> Renderer:
    return make_renderer(templates.CHATML)


def example(*messages, **keys) -> ChatExample:
    return ChatExample.model_validate({"messages": list(messages), **keys})


def learned(renderer, chat, context_length=ENOUGH) -> list[list[str]]:
    """The texts that an example trains, row by row."""
    return [spans(renderer, row) for row in renderer.rows(chat, context_length)]


def spans(renderer, row) -> list[str]:
    """The texts of a row's runs of trained tokens."""
    starts = [i for i in range(1, len(row.trained)) if row.trained[i] and not row.trained[i - 1]]
    texts = []
    for start in starts:
        end = start
        while end < len(row.trained) and row.trained[end]:
            end += 1
        texts.append(renderer.decode(row.token_ids[start:end]))
    return texts


def test_answer_and_its_end_are_learned(chatml):
    """The answer and its end-of-turn token train; the question and the line break after it do not."""
    (row,) = chatml.rows(example(user("Where?"), answer("Here.")), ENOUGH)
    assert spans(chatml, row) == [f"Here.{END}"]
    assert row.trained[-1]
    assert row.token_ids[: row.prompt_length] == chatml.render_prompt(
        chat_messages.validate_python([user("Where?")])
    )


def test_turns_share_a_row(chatml):
    """Where a template keeps what it has rendered, all answers of a conversation share one row."""
    chat = example(system("s"), user("a"), answer("one"), user("b"), answer("two"))
    assert learned(chatml, chat) == [[f"one{END}", f"two{END}"]]


def test_turns_of_a_thinking_template(make_renderer):
    """Where a template rewrites earlier answers, each answer has a row, in its own context."""
    renderer = make_renderer(templates.QWEN3)
    thought = "<think>\nhm\n</think>\n\none"
    chat = example(user("a"), answer(thought), user("b"), answer("two"))
    first, second = renderer.rows(chat, ENOUGH)
    assert spans(renderer, first) == [f"{thought}{END}"]
    assert spans(renderer, second) == [f"<think>\n</think>\n\ntwo{END}"]
    assert "hm" not in renderer.decode(second.token_ids)


@pytest.mark.parametrize(
    "name", ["chatml", "llama", "gemma", "phi3", "qwen3", "r1", "glm", "parts"]
)
def test_context_is_what_will_be_asked(name, make_renderer):
    """Every answer is trained behind the very ids that the model server will send before it."""
    renderer = make_renderer(templates.TEMPLATES[name])
    messages = [user("a"), answer("one"), user("b"), answer("\n\ntwo"), user("c"), answer("three")]
    chat = example(*messages)
    prompts = [renderer.render_prompt(chat.messages[:place]) for place in (1, 3, 5)]
    contexts = [
        row.token_ids[:place]
        for row in renderer.rows(chat, ENOUGH)
        for place in range(1, len(row.trained))
        if row.trained[place] and not row.trained[place - 1]
    ]
    assert contexts == prompts


@pytest.mark.parametrize("name", ["chatml", "llama", "gemma", "phi3", "parts"])
def test_sharing_changes_nothing(name, make_renderer):
    """Sharing a row trains the same tokens as a row for each answer does."""
    renderer = make_renderer(templates.TEMPLATES[name])
    chat = example(user("a"), answer("one"), user("b"), answer("two"))
    alone = [
        example(user("a"), answer("one")),
        example(user("a"), answer("one", weight=0), user("b"), answer("two")),
    ]
    assert learned(renderer, chat) == [
        [text for one in alone for row in learned(renderer, one) for text in row]
    ]


def test_weight_zero(chatml):
    """An answer of weight 0 is context for the next, and is not learned."""
    chat = example(user("a"), answer("one", weight=0), user("b"), answer("two", weight=1))
    (row,) = chatml.rows(chat, ENOUGH)
    assert spans(chatml, row) == [f"two{END}"]
    assert "one" in chatml.decode(row.token_ids)


def test_all_weights_zero(chatml):
    """An example whose answers all have weight 0 has no row, and says so."""
    rendered = chatml.render(example(user("a"), answer("one", weight=0)), ENOUGH)
    assert rendered.rows == []
    assert rendered.findings == [Finding("nothing_trained")]
    assert rendered.n_tokens > 0


def test_line_break_at_the_beginning(chatml):
    """An answer that begins with a line break is learned as such, although the prompt ends with one."""
    assert learned(chatml, example(user("a"), answer("\n\ntwo"))) == [[f"\n\ntwo{END}"]]


def test_tokens_count_the_whole_conversation(chatml):
    """The count of an example is that of its whole rendering, whatever of it trains."""
    trained = chatml.render(example(user("a"), answer("one")), ENOUGH)
    untrained = chatml.render(example(user("a"), answer("one", weight=0)), ENOUGH)
    assert trained.n_tokens == untrained.n_tokens == len(trained.rows[0].token_ids) + 1


def test_cut_at_the_end(chatml):
    """What is longer than the context is cut at the end, counted so, and told."""
    chat = example(user("a"), answer("one two three four five six seven eight"))
    (whole,) = chatml.rows(chat, ENOUGH)
    rendered = chatml.render(chat, whole.prompt_length + 3)
    (row,) = rendered.rows
    assert row.token_ids == whole.token_ids[: whole.prompt_length + 3]
    assert sum(row.trained) == 3
    assert rendered.n_tokens == whole.prompt_length + 3
    assert rendered.findings == [Finding("truncated")]


def test_answer_beyond_the_context(chatml):
    """An example whose answer is cut away has no row, and says both."""
    rendered = chatml.render(example(user("why " * 50), answer("so")), 20)
    assert rendered.rows == []
    assert [finding.kind for finding in rendered.findings] == ["truncated", "nothing_trained"]


def test_template_refuses(make_renderer):
    """A template that takes no system message says so in a finding, with its own words."""
    renderer = make_renderer(templates.GEMMA)
    chat = example(system("s"), user("a"), answer("one"))
    refused = Finding("refused", detail="System role not supported")
    assert renderer.render(chat, ENOUGH).findings == [refused]
    with pytest.raises(TemplateRefused, match="System role not supported"):
        renderer.render_prompt(chat.messages[:1])


def test_template_fails(make_renderer):
    """A template with a mistake of its own is a finding too, not a crash."""
    renderer = make_renderer("{{ messages[0].content + 1 }}")
    (finding,) = renderer.render(example(user("a"), answer("b")), ENOUGH).findings
    assert finding.kind == "refused"
    assert "TypeError" in finding.detail


def test_template_without_end_of_turn(make_renderer):
    """An answer that its template does not end is given the tokenizer's end token, and this is told."""
    renderer = make_renderer(templates.GLM, ends=["<|endoftext|>"])
    rendered = renderer.render(example(user("a"), answer("one"), user("b"), answer("two")), ENOUGH)
    assert [spans(renderer, row) for row in rendered.rows] == [
        ["one<|endoftext|>"],
        ["two<|endoftext|>"],
    ]
    assert rendered.findings == [Finding("no_end_of_turn", 2), Finding("no_end_of_turn", 4)]


def test_extra_end_of_a_conversation(make_renderer):
    """A token that a template puts behind whole conversations only is neither learned nor told."""
    rendered = make_renderer(templates.PHI3).render(example(user("a"), answer("one")), ENOUGH)
    assert spans(make_renderer(templates.PHI3), rendered.rows[0]) == [f"one{END}"]
    assert rendered.findings == []


def test_end_of_turn_in_an_answer(chatml):
    """An answer that holds an end-of-turn token's text is learned up to there, and this is told."""
    rendered = chatml.render(example(user("a"), answer(f"one{END}two")), ENOUGH)
    assert spans(chatml, rendered.rows[0]) == [f"one{END}"]
    assert rendered.findings == [Finding("early_end_of_turn", 2)]


def test_prompt_opens_the_answer(make_renderer):
    """Where the prompt opens a thought that answers lack, the answer is learned behind it, and told."""
    renderer = make_renderer(templates.R1)
    rendered = renderer.render(example(user("a"), answer("one")), ENOUGH)
    assert spans(renderer, rendered.rows[0]) == [f"one{END}"]
    assert renderer.decode(rendered.rows[0].token_ids).endswith(f"<think>\none{END}")
    assert rendered.findings == [Finding("other_opening", 2, "<think>\n")]


def test_prompt_opens_and_the_answer_ends_at_once(make_renderer):
    """Where prompt and answer differ within a special token, the token is kept whole."""
    renderer = make_renderer(templates.R1)
    rendered = renderer.render(example(user("a"), answer("")), ENOUGH)
    assert spans(renderer, rendered.rows[0]) == [END]


@pytest.mark.parametrize("said", ["b", "0", "", " 0b", [{"type": "refusal", "refusal": "no"}]])
def test_rewritten_past(said, make_renderer):
    """An answer with which the template changes what was asked is learned behind what will be asked."""
    renderer = make_renderer(templates.REWRITING)
    chat = example(user("a"), answer("x"), user("c"), answer(said))
    text = said if isinstance(said, str) else "no"
    assert learned(renderer, chat) == [[f"x{END}"], [f"{text}{END}"]]
    prompts = [renderer.render_prompt(chat.messages[:place]) for place in (1, 3)]
    rows = renderer.rows(chat, ENOUGH)
    assert [row.token_ids[: row.prompt_length] for row in rows] == prompts


def test_lost_past(make_renderer):
    """An answer that the template does not put behind what was asked cannot be learned; this is told."""
    source = templates.REWRITING.replace(
        "{%- for message in messages", "{%- for message in messages | reverse"
    )
    rendered = make_renderer(source).render(example(user("a"), answer("b")), ENOUGH)
    assert rendered.rows == []
    assert [finding.kind for finding in rendered.findings] == ["rewritten_past", "nothing_trained"]


def test_answer_to_nothing(chatml):
    """An answer that nothing comes before is not learned, and this is told."""
    rendered = chatml.render(example(answer("Welcome!"), user("a"), answer("b")), ENOUGH)
    assert [spans(chatml, row) for row in rendered.rows] == [[f"b{END}"]]
    assert rendered.findings == [Finding("never_asked", 1)]


def test_calls_are_learned(nano_dir):
    """A call of a tool is learned as the tiny base's template writes it, and so is what follows."""
    renderer = Renderer.load(nano_dir)
    chat = example(
        user("w?"),
        answer(None, tool_calls=[call(arguments='{"city":"Köln"}')]),
        result("sunny"),
        answer("Sunny."),
        tools=TOOLS,
    )
    written = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>'
    assert learned(renderer, chat) == [[written + END, f"Sunny.{END}"]]


def test_deprecated_functions(nano_dir):
    """`functions` and `function_call` are rendered as the tools and calls that replaced them."""
    renderer = Renderer.load(nano_dir)
    function = call()["function"]
    old = example(
        user("w?"),
        answer(None, function_call=function),
        {"role": "function", "name": "get_weather", "content": "sunny"},
        answer("Sunny."),
        functions=[tool["function"] for tool in TOOLS],
    )
    new = example(
        user("w?"),
        answer(None, tool_calls=[call()]),
        result("sunny"),
        answer("Sunny."),
        tools=TOOLS,
    )
    assert renderer.rows(old, ENOUGH) == renderer.rows(new, ENOUGH)


def test_refusal_is_an_answer(chatml):
    """A refusal beside null content is learned as the answer's text."""
    chat = example(user("a"), answer(None, refusal="I won't."))
    assert learned(chatml, chat) == [[f"I won't.{END}"]]


texts = st.text(max_size=20) | st.sampled_from(["", "\n", " ", END, "<|im_start|>user\n", "😀"])


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3), st.integers(1, 60))
def test_any_text(chatml, turns, context_length):
    """Whatever is said, rows fit the context, and each trains a token behind the prompt that is asked."""
    messages = [m for question, said in turns for m in (user(question), answer(said))]
    rendered = chatml.render(example(*messages), context_length)
    prompt = chatml.render_prompt(chat_messages.validate_python(messages[:1]))
    for row in rendered.rows:
        assert len(row.token_ids) == len(row.trained) <= context_length
        assert row.prompt_length >= len(prompt)
        assert row.token_ids[: len(prompt)] == prompt


def base_dir(tmp_path, tokenizer_path, **files) -> Path:
    """A model directory without weights."""
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_path.read_bytes())
    for name, text in files.items():
        (tmp_path / name.replace("__", ".")).write_text(text)
    return tmp_path


def test_ends_of_a_base(tmp_path, tokenizer_path):
    """A base stops at its tokenizer's end token and at all of its generation config's."""
    directory = base_dir(
        tmp_path,
        tokenizer_path,
        chat_template__jinja=templates.CHATML,
        tokenizer_config__json='{"eos_token": {"content": "<|im_end|>"}}',
        generation_config__json='{"eos_token_id": [0, 2]}',
        config__json='{"eos_token_id": 1}',
    )
    assert Renderer.load(directory).end_of_turn_ids == (2, 0)


def test_template_in_the_tokenizer_config(tmp_path, tokenizer_path):
    """Templates by name are read from the tokenizer's config, and `tool_use` is taken with tools."""
    config = (
        '{"chat_template": [{"name": "default", "template": "plain"},'
        ' {"name": "tool_use", "template": "tools"}], "eos_token": "<|im_end|>"}'
    )
    renderer = Renderer.load(base_dir(tmp_path, tokenizer_path, tokenizer_config__json=config))
    chat = example(user("a"), answer("b"), tools=TOOLS)
    assert renderer.decode(renderer.render_prompt(chat.messages)) == "plain"
    assert renderer.decode(renderer.render_prompt(chat.messages, chat.offered_tools)) == "tools"


def test_digest_follows_the_template(make_renderer):
    """Another template has another digest, and the same one the same."""
    chatml, other = make_renderer(templates.CHATML), make_renderer(templates.GLM)
    assert chatml.template_digest == make_renderer(templates.CHATML).template_digest
    assert chatml.template_digest != other.template_digest
    assert len(chatml.template_digest) == 64


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "it has no chat template: put one into it as chat_template.jinja"),
        ({"chat_template__jinja": "{% if %}"}, "its chat template is broken at line 1"),
        ({"tokenizer_config__json": "{"}, "it cannot be read"),
        ({"tokenizer_config__json": "[]"}, "tokenizer_config.json does not hold a JSON object"),
        ({"tokenizer__json": "{}"}, "it cannot be read: tokenizer.json"),
    ],
)
def test_unusable_base(files, reason, tmp_path, tokenizer_path):
    """A base that cannot chat is told so, with what is missing."""
    with pytest.raises(JobFailure, match="The base model cannot be used for chat") as failure:
        Renderer.load(base_dir(tmp_path, tokenizer_path, **files))
    assert failure.value.code == "base_model_unusable"
    assert reason in failure.value.message


def test_base_without_tokenizer(tmp_path):
    """A directory that holds no tokenizer is told so."""
    with pytest.raises(JobFailure, match=r"tokenizer\.json"):
        Renderer.load(tmp_path)
