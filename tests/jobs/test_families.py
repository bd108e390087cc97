"""What each family of models learns from a conversation, in the family's own format and special tokens."""

import pytest

from jobs.rendering import Renderer
from schemas.training_file import ChatExample, chat_messages
from tests.jobs.conversations import TOOLS, answer, call, result, system, user
from tests.jobs.family_templates import FAMILIES, Family, write_base
from tests.jobs.test_rendering import ENOUGH, example, spans

TRIMS = {"llama-3", "gemma-3"}
ONE_ROW = set(FAMILIES) - {"qwen-3", "mistral-3"}
"""Families whose templates leave what they have rendered as it is."""
CALLED = {
    "llama-3": '{"name": "get_weather", "parameters": {"city": "Köln"}}',
    "qwen-2.5": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>',
    "qwen-3": '<think>\n\n</think>\n\n<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>',
    "mistral-3": '[TOOL_CALLS] [{"arguments": {"city": "Köln"}, "name": "get_weather", "id": "call00001"}]',
    "phi-4-mini": '<|tool_call|>[{"id": "call00001", "function": {"arguments": {"city": "Köln"}, "name": "get_weather"}, "type": "function"}]<|/tool_call|>',
    "ours": '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Köln"}}\n</tool_call>',
}
"""A call, as each family writes it."""


@pytest.fixture(scope="module", params=FAMILIES)
def name(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def family(name) -> Family:
    return FAMILIES[name]


@pytest.fixture(scope="module")
def renderer(family, nano_dir, tmp_path_factory) -> Renderer:
    return Renderer.load(write_base(tmp_path_factory.mktemp("base"), nano_dir, family))


def learned(renderer: Renderer, chat: ChatExample) -> list[str]:
    """The texts that train, whatever the rows."""
    rendered = renderer.render(chat, ENOUGH)
    assert rendered.findings == []
    return [text for row in rendered.rows for text in spans(renderer, row)]


def contexts(renderer: Renderer, chat: ChatExample) -> list[list[int]]:
    """The ids before each run of trained tokens."""
    return [
        row.token_ids[:place]
        for row in renderer.rows(chat, ENOUGH)
        for place in range(1, len(row.trained))
        if row.trained[place] and not row.trained[place - 1]
    ]


def asked(renderer: Renderer, chat: ChatExample, *places: int) -> list[list[int]]:
    """The prompts of the answers at these places."""
    return [renderer.render_prompt(chat.messages[:p], chat.offered_tools) for p in places]


def test_one_answer(renderer, family):
    """An answer trains with what its family opens it with and the token that ends its turn, and nothing else."""
    chat = example(user("a b"), answer("one two"))
    assert learned(renderer, chat) == [f"{family.opens}one two{family.end}"]
    assert contexts(renderer, chat) == asked(renderer, chat, 1)


def test_several_answers(renderer, family, name):
    """Every answer of a conversation trains, behind the very ids that will ask for it."""
    chat = example(user("a"), answer("one"), user("b"), answer("two"), user("c"), answer("three"))
    said = ["one", "two", "three"]
    assert learned(renderer, chat) == [f"{family.opens}{text}{family.end}" for text in said]
    assert contexts(renderer, chat) == asked(renderer, chat, 1, 3, 5)
    assert (len(renderer.rows(chat, ENOUGH)) == 1) == (name in ONE_ROW | {"mistral-3"})


def test_a_system_turn(renderer, family):
    """A system's words are asked with, wherever the family puts them, and train nothing."""
    chat = example(system("Be brief."), user("a"), answer("one"), user("b"), answer("two"))
    assert learned(renderer, chat) == [
        f"{family.opens}{text}{family.end}" for text in ("one", "two")
    ]
    assert contexts(renderer, chat) == asked(renderer, chat, 2, 4)
    assert all("Be brief." in renderer.decode(ids) for ids in contexts(renderer, chat))


def test_an_answer_of_weight_zero(renderer, family):
    """An answer of weight 0 is in the context of the next, and does not train."""
    chat = example(user("a"), answer("one", weight=0), user("b"), answer("two"))
    assert learned(renderer, chat) == [f"{family.opens}two{family.end}"]
    assert contexts(renderer, chat) == asked(renderer, chat, 3)
    assert "one" in renderer.decode(contexts(renderer, chat)[0])


@pytest.mark.parametrize("said", ["  two\n", "\n\ntwo", "two \t"])
def test_an_answer_with_blanks_around(renderer, family, name, said):
    """Blanks around an answer train where the family keeps them, and their turn still ends."""
    (text,) = learned(renderer, example(user("a"), answer(said)))
    assert text == family.opens + (said.strip() if name in TRIMS else said) + family.end


@pytest.mark.parametrize("before", [[], [system("Be brief.")]], ids=["alone", "system"])
@pytest.mark.parametrize("name", CALLED, indirect=True)
def test_a_call_and_its_result(renderer, family, name, before):
    """A call trains as its family writes it; the tool's result is asked with and trains nothing."""
    # Microsoft's template joins texts: there a call beside null content is refused.
    said = "" if name == "phi-4-mini" else None
    chat = example(
        *before,
        user("w?"),
        answer(said, tool_calls=[call(arguments='{"city": "Köln"}')]),
        result("sunny"),
        answer("Sunny."),
        tools=TOOLS,
    )
    assert learned(renderer, chat) == [
        CALLED[name] + family.end,
        f"{family.opens}Sunny.{family.end}",
    ]
    assert contexts(renderer, chat) == asked(renderer, chat, len(before) + 1, len(before) + 3)
    assert "sunny" in renderer.decode(contexts(renderer, chat)[1])


def test_thoughts(renderer, family, name):
    """A thought trains in its own turn; where the family forgets it, the next is asked without."""
    thought = "<think>\nhm\n</think>\n\none"
    chat = example(user("a"), answer(thought), user("b"), answer(thought.replace("hm", "so")))
    opens = family.opens if name == "mistral-3" else ""
    assert learned(renderer, chat) == [
        opens + thought + family.end,
        opens + thought.replace("hm", "so") + family.end,
    ]
    later = renderer.decode(contexts(renderer, chat)[1])
    assert ("hm" in later) == (name != "qwen-3")


def test_nothing_but_an_end(renderer, family):
    """An empty answer trains what opens it and the end of its turn."""
    (text,) = learned(renderer, example(user("a"), answer("")))
    assert text == family.opens + family.end


def test_sharing_a_row_changes_nothing(renderer):
    """The same tokens train whether a conversation is one example, or one for each of its answers."""
    together = example(user("a"), answer("one"), user("b"), answer("two"))
    first = example(user("a"), answer("one"))
    second = example(user("a"), answer("one", weight=0), user("b"), answer("two"))
    alone = learned(renderer, first) + learned(renderer, second)
    assert learned(renderer, together) == alone


def test_what_is_asked_is_rendered_at_serving(renderer):
    """A prompt is the same ids whether it is a client's or an example's."""
    messages = chat_messages.validate_python([system("s"), user("a"), answer("b"), user("c")])
    chat = example(*[m.model_dump(exclude_none=True) for m in messages], answer("d"))
    assert renderer.render_prompt(messages) == asked(renderer, chat, 4)[0]
