"""Which examples a report asks, and what the engine is asked for each."""

import json

import pytest

from jobs.rendering import Renderer
from jobs.reports.sample import (
    MAX_REFERENCE_TOKENS,
    NotAskable,
    Question,
    choose,
    numbers_found_in,
    question_of,
    spread,
)
from schemas.chat import to_upstream
from schemas.training_file import ChatExample

WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "default": None}},
}


@pytest.fixture(scope="module")
def renderer(nano_dir):
    return Renderer.load(nano_dir)


def user(text):
    return {"role": "user", "content": text}


def assistant(text, **more):
    return {"role": "assistant", "content": text, **more}


def asked(renderer, *messages, context_length=512, **more):
    example = ChatExample.model_validate({"messages": list(messages), **more})
    return question_of(example, renderer, model="nano", context_length=context_length)


def upstream(question):
    return to_upstream(question.request, cache_salt="salt")


def write(path, texts):
    lines = [json.dumps({"messages": [user(text), assistant(text)]}) for text in texts]
    path.write_text("\n".join(lines) + "\n\n")
    return path


def test_examples_are_spread_evenly():
    """One of each stretch of the file, wherever the seed begins; all of a short one."""
    for seed in range(50):
        places = sorted(spread(1000, n=10, seed=seed))
        assert [place // 100 for place in places] == list(range(10))
        assert spread(1000, n=10, seed=seed) == frozenset(places)
    assert spread(3, n=10, seed=1) == {0, 1, 2}
    assert len({spread(1000, n=10, seed=seed) for seed in range(50)}) > 20


def test_a_file_is_sampled_by_number(tmp_path, renderer):
    """Blank lines at its end do not count."""
    path = write(tmp_path / "a.jsonl", [f"message {n}" for n in range(1, 101)])
    chosen = choose(path, renderer, model="nano", context_length=512, n=7, seed=3)
    assert chosen.n_available == 100
    assert chosen.questions.keys() == {place + 1 for place in spread(100, n=7, seed=3)}
    assert all(each.prompt == f"message {number}" for number, each in chosen.questions.items())


def test_examples_that_were_trained_on_are_found(tmp_path, renderer):
    """By what they say, not by how their line is written."""
    held_out = write(tmp_path / "valid.jsonl", ["a", "b", "c"])
    line = {"messages": [{"content": "b", "role": "user"}, assistant("b")], "tools": None}
    training = write(tmp_path / "train.jsonl", ["x", "y"])
    training.write_text(f"{json.dumps(line)}\n{training.read_text()}")
    chosen = choose(held_out, renderer, model="nano", context_length=512, n=9, seed=1)
    assert numbers_found_in(training, chosen) == {2}


def test_only_what_was_held_out_is_chosen(tmp_path, renderer):
    """And is looked for in the rest of the file."""
    path = write(tmp_path / "a.jsonl", ["a", "b", "c", "b", "d"])
    held_out = frozenset({2, 5})
    chosen = choose(path, renderer, model="nano", context_length=512, n=9, seed=1, among=held_out)
    assert (chosen.n_available, chosen.examples.keys()) == (2, held_out)
    assert numbers_found_in(path, chosen, but_at=held_out) == {2}


def test_the_last_trained_answer_is_asked_for(renderer):
    """With all that came before it; an answer of weight 0 is not, nor what follows."""
    question = asked(
        renderer,
        user("one"),
        assistant("first", weight=1),
        user("two"),
        assistant("second"),
        user("three"),
        assistant("third", weight=0),
    )
    assert isinstance(question, Question)
    assert (question.prompt, question.reference.text) == ("two", "second")
    body = upstream(question)
    assert body["messages"] == [user("one"), assistant("first"), user("two")]
    assert body["temperature"] == 0
    assert 16 < body["max_completion_tokens"] < 64


def test_tools_are_offered_and_calls_are_the_reference(renderer):
    """Schemas come to the engine as they were written, nulls included; a tool's name is not sent."""
    call = {
        "id": "c1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
    }
    question = asked(
        renderer,
        user("Rome?"),
        {"role": "assistant", "tool_calls": [call], "weight": 0},
        {"role": "tool", "tool_call_id": "c1", "content": "sun", "name": "weather"},
        {"role": "assistant", "tool_calls": [call | {"id": "c2"}]},
        tools=[WEATHER],
        parallel_tool_calls=False,
    )
    assert [each.model_dump() for each in question.reference.calls] == [call["function"]]
    assert question.reference.text == ""
    body = upstream(question)
    assert body["tools"] == [WEATHER]
    assert body["parallel_tool_calls"] is False
    assert body["messages"][1]["tool_calls"] == [call]
    assert body["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": "sun"}


def test_deprecated_functions_are_asked_too(renderer):
    """They become tools, and the call a reference like any other."""
    question = asked(
        renderer,
        user("Rome?"),
        {"role": "assistant", "function_call": {"name": "weather", "arguments": "{}"}},
        functions=[{"name": "weather"}],
    )
    assert [call.name for call in question.reference.calls] == ["weather"]
    assert [tool["function"]["name"] for tool in upstream(question)["tools"]] == ["weather"]


def test_what_does_not_fit_is_left_out(renderer):
    """Prompt and reference beyond the context, or a reference that alone would take too long."""
    long = asked(renderer, user("a " * 600), assistant("b"))
    assert isinstance(long, NotAskable)
    assert long.reason == "too_long"
    whole = asked(
        renderer, user("a"), assistant("b " * 2 * MAX_REFERENCE_TOKENS), context_length=100_000
    )
    assert whole.reason == "too_long"


def test_what_no_request_may_say_is_left_out(renderer):
    """A name that training takes and the API refuses; the reason is the API's."""
    call = {"id": "c", "type": "function", "function": {"name": "a b", "arguments": "{}"}}
    question = asked(
        renderer,
        user("x"),
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "y"},
        assistant("z"),
    )
    assert isinstance(question, NotAskable)
    assert question.reason == "not_askable"
    assert "function.name" in question.detail
    assert asked(renderer, assistant("unasked")).reason == "not_askable"


def test_an_example_of_which_nothing_is_learned_is_left_out(tmp_path, renderer):
    """Validation passes it with a warning where others are learned from; there is no answer to ask for."""
    unlearned = {"messages": [user("a"), assistant("b", weight=0)]}
    path = write(tmp_path / "a.jsonl", ["c"])
    path.write_text(f"{json.dumps(unlearned)}\n{path.read_text()}")
    chosen = choose(path, renderer, model="nano", context_length=512, n=9, seed=1)
    assert chosen.left_out[1] == NotAskable("not_askable", "All its answers have a weight of 0.")
    assert chosen.questions.keys() == {2}
