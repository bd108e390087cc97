"""Plain examples against the rules: never wider, and wide enough for what people upload."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.example_rules import ExampleError, parse_example
from jobs.plain_examples import count_plain_examples
from schemas.training_file import ChatExample
from tests.jobs.bad_files import BAD_FILES, CALL, GOOD, answer, chat, line, user

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
names = st.text(st.sampled_from("abc_-019"), min_size=1, max_size=64)
words = texts | st.lists(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}), min_size=1, max_size=2
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.dictionaries(texts, values, max_size=3)
functions = st.fixed_dictionaries(
    {"name": names},
    optional={
        "description": texts | st.none(),
        "parameters": objects | st.none(),
        "strict": st.booleans() | st.none(),
    },
)
calls = st.fixed_dictionaries(
    {
        "id": names,
        "type": st.just("function"),
        "function": st.fixed_dictionaries({"name": names, "arguments": objects.map(json.dumps)}),
    }
)
asked = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "developer", "user"]), "content": words},
    optional={"name": texts | st.none()},
)
answers = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": words},
    optional={
        "weight": st.sampled_from([0, 1, None]),
        "tool_calls": st.lists(calls, max_size=2) | st.none(),
        "refusal": texts | st.none(),
        "audio": st.none(),
    },
)
examples = st.builds(
    lambda messages, last, extra: {"messages": [*messages, last], **extra},
    st.lists(asked | answers, max_size=4),
    answers,
    st.fixed_dictionaries(
        {},
        optional={
            "tools": st.lists(st.builds(lambda f: {"type": "function", "function": f}, functions)),
            "functions": st.lists(functions, min_size=1, max_size=3) | st.none(),
            "parallel_tool_calls": st.booleans() | st.none(),
        },
    ),
)
LOST = object()
replacements = st.sampled_from(
    [LOST, LOST, None, True, 2, -0, 1.0, 1e300, "", "user", [], {}, [[]], "assistant", "\0", "text"]
)


def is_example(content: bytes) -> bool:
    try:
        parse_example(content)
    except ExampleError:
        return False
    return True


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(each, (*path, key))


def changed(value, path, change):
    """The value, changed at one place; without it where the change is to lose it."""
    if not path:
        return change
    copy = value.copy()
    copy[path[0]] = changed(copy[path[0]], path[1:], change)
    if copy[path[0]] is LOST:
        del copy[path[0]]
    return copy


@given(examples, st.booleans())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_examples_are_plain(value, ascii_only):
    """What the rules take is found plain, whatever its texts: no ordinary file is read slowly."""
    content = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert is_example(content)
    assert count_plain_examples(content) == 1
    assert count_plain_examples(b"\n".join([content] * 3)) == 3


@given(examples, st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_almost_examples(value, data):
    """What is found plain, the rules take: with any value at any place, any key too many or any byte lost."""
    _, *inner = places(value)
    place = data.draw(st.sampled_from(inner))
    content = json.dumps(changed(value, place, data.draw(replacements))).encode()
    if data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(content)))
        instead = data.draw(
            st.sampled_from([b"", b",", b'"', b'"role":"user",', b"}", b"\xff", b"\n"])
        )
        content = content[:cut] + instead + content[cut + 1 :]
    if count_plain_examples(content) is not None:
        assert is_example(content)


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_bad_files_are_not_plain(bad):
    """Of the files that no job can use none is plain, but for those that are only too short."""
    n_plain = count_plain_examples(bad.content)
    assert n_plain is None or bad.name in {"too_few", "line_of_9_mb"}


ODD = {
    "a name twice": line(GOOD).replace(
        b'"content": "card_arrival"', b'"content": "a", "content": null'
    ),
    "a role twice": line(GOOD).replace(
        b'"role": "assistant"', b'"role": "assistant", "role": "user"'
    ),
    "messages twice": line(GOOD)[:-1] + b', "messages": []}',
    "half a character": line(GOOD).replace(b"card_arrival", rb"\ud83d"),
    "half a character in a key": line(GOOD)[:-1] + rb', "\ud83d": 1}',
    "too deep": line(GOOD)[:-1] + b', "tools": [{"type": "function", "function": {"name": "f", '
    b'"parameters": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}}]}",
    "parameters of half": line(GOOD)[:-1]
    + b', "tools": [{"type": "function", "function": {"name": "f", '
    b'"parameters": {"a": tru}}}]}',
    "parameters not finite": line(GOOD)[:-1]
    + b', "functions": [{"name": "f", "parameters": {"a": 1e999}}]}',
    "parameters not UTF-8": line(GOOD)[:-1]
    + b', "functions": [{"name": "f", "parameters": {"a": "\xff"}}]}',
    "a name that ends a line": line(GOOD)[:-1] + rb', "functions": [{"name": "f\n"}]}',
    "a tool without a type": line(GOOD | {"tools": [{"function": {"name": "f"}}]}),
    "a call without a type": line(
        chat(user(), answer(tool_calls=[{"id": "c", "function": {"name": "f", "arguments": "{}"}}]))
    ),
    "a part without a type": line(chat(user(content=[{"text": "a"}]), answer())),
    "129 functions": line(GOOD | {"functions": [{"name": "f"}] * 129}),
    "a call that says nothing": line(chat(user(), {"role": "assistant", "tool_calls": []})),
    "arguments not finite": line(
        chat(
            user(),
            answer(tool_calls=[CALL | {"function": {"name": "f", "arguments": '{"a": NaN}'}}]),
        )
    ),
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD.keys())
def test_odd_lines(content):
    """What C decoders and the rules might see differently is refused by both."""
    assert not is_example(content)
    assert count_plain_examples(content) is None


def test_one_example_a_line():
    """Examples that go over lines, or share one, are not plain, even where their number is that of lines."""
    good = line(GOOD)
    assert count_plain_examples(good + b"\n" + good + b"\r\n" + good) == 3
    assert count_plain_examples(good + b"\n\n" + good) is None
    assert count_plain_examples(good[:-1] + b"\n}" + good) is None
    assert count_plain_examples(good + good) is None
    assert count_plain_examples(b"") is None


def test_large_integers_and_brackets():
    """Where the rules take more than is plain, nothing is found."""
    wide = line(GOOD | {"functions": [{"name": "f", "parameters": {"a": [[]] * 200}}]})
    assert ChatExample.model_validate_json(wide)
    assert is_example(wide)
    assert count_plain_examples(wide) is None


@pytest.mark.parametrize("hidden", [b'{"x":"\xff"}', b"[" * 300 + b"]" * 300, b"9" * 5000])
@pytest.mark.parametrize("name", [b"parameters", b"\\u0070arameters"])
def test_parameters_of_a_name_that_comes_twice(hidden, name):
    """The last of two is kept; what the first holds, the rules read too."""
    function = b'"function":{"name":"f","%s":%s,"parameters":{}}' % (name, hidden)
    messages = json.dumps(GOOD)[:-1].encode()
    tools = b'%s,"tools":[{"type":"function",%s}]' % (messages, function)
    for content in (tools + b"}", tools + b',"tools":null}'):
        assert not is_example(content)
        assert count_plain_examples(content) is None


def test_parameters_that_are_only_spoken_of():
    """A schema that has a property of that name is plain, and so is a text about it."""
    parameters = {"type": "object", "properties": {"parameters": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    tools.append({"type": "function", "function": {"name": "g", "parameters": None}})
    tools.append({"type": "function", "function": {"name": "h"}})
    asked = {"role": "user", "content": 'the "parameters" of \x7f'}
    example = chat(asked, answer()) | {"tools": tools}
    assert count_plain_examples(json.dumps(example).encode()) == 1
