"""Training files: what is accepted, what is told, and that nothing else happens."""

import json
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from jobs.dataset import CheckStopped, check_file, count_shared_examples, read_examples
from jobs.rendering import Renderer
from schemas.errors import JobFailure
from tests.jobs.bad_files import BAD_FILES, CALL, GOOD, answer, chat, line, lines, user

CODES = {"invalid_n_examples", "invalid_training_file", "invalid_file_format"}


@pytest.fixture(scope="module")
def renderer(nano_dir) -> Renderer:
    return Renderer.load(nano_dir)


@pytest.fixture(scope="module")
def any_path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("any") / "any.jsonl"


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    return path


def check(path, *, role="training", renderer=None, context_length=1024):
    return check_file(
        path, role=role, file_id="file-abc", renderer=renderer, context_length=context_length
    )


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_bad_file(bad, tmp_path):
    """A file that cannot be used fails with OpenAI's code, and its text names the place and the way out."""
    with pytest.raises(JobFailure) as failure:
        check(write(tmp_path, bad.content))
    assert failure.value.code == bad.code
    assert failure.value.param == "training_file"
    for part in bad.says:
        assert part in failure.value.message


def test_bad_files_are_of_many_kinds():
    """At least thirty kinds of bad file are told apart, each in words of its own."""
    assert len({bad.name for bad in BAD_FILES}) == len(BAD_FILES) >= 30


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_bad_validation_file(bad, tmp_path):
    """As a validation file it fails with the code for these, but for being small."""
    if bad.name == "too_few":
        assert check(write(tmp_path, bad.content), role="validation").n_examples == 7
        return
    with pytest.raises(JobFailure) as failure:
        check(write(tmp_path, bad.content), role="validation")
    assert failure.value.code == "invalid_validation_file"
    assert failure.value.param == "validation_file"
    assert "validation file" in failure.value.message.lower()


@pytest.mark.parametrize(
    "good",
    [
        pytest.param(lines(), id="plain"),
        pytest.param(lines()[:-1], id="no_last_line_break"),
        pytest.param(lines() + b"\n \n\t\n", id="blank_lines_at_the_end"),
        pytest.param(lines().replace(b"\n", b"\r\n"), id="windows_line_breaks"),
        pytest.param(lines(chat(user(), answer(weight=0), user(), answer(weight=1))), id="weights"),
        pytest.param(lines(chat(user(name="Ann"), answer(name="Bob"))), id="names"),
        pytest.param(
            lines(chat({"role": "developer", "content": "x"}, user(), answer())), id="dev"
        ),
        pytest.param(lines(GOOD | {"tools": None, "parallel_tool_calls": False}), id="null_tools"),
        pytest.param(
            lines(chat(user(content=[{"type": "text", "text": "a"}]), answer())), id="parts"
        ),
        pytest.param(
            lines(
                chat(
                    user(),
                    answer(content=None, tool_calls=[CALL]),
                    {"role": "tool", "tool_call_id": "call_1", "content": "on its way"},
                    answer(),
                    tools=[{"type": "function", "function": {"name": "track"}}],
                )
            ),
            id="tools",
        ),
        pytest.param(
            lines(
                chat(
                    user(),
                    answer(content=None, function_call={"name": "track", "arguments": "{}"}),
                    {"role": "function", "name": "track", "content": "ok"},
                    answer(),
                    functions=[{"name": "track", "parameters": {}}],
                )
            ),
            id="functions",
        ),
        pytest.param(
            lines(chat(user(), answer(content=None, refusal="I won't.", audio=None))), id="refusal"
        ),
        pytest.param(lines(line().replace(b"card?", rb"\\u0000 NaN 1e999")), id="only_looks_bad"),
    ],
)
def test_good_file(good, tmp_path, renderer):
    """What OpenAI takes is taken, and every example of it trains."""
    path = write(tmp_path, good)
    report = check(path, renderer=renderer)
    assert report.n_examples == len(list(read_examples(path))) >= 12
    assert report.n_untrained == 0
    assert report.warnings == ()


def test_report_counts(tmp_path, renderer):
    """The report adds up what the renderer gives: rows, tokens, trained tokens, lengths."""
    report = check(write(tmp_path, lines()), renderer=renderer)
    (row,) = renderer.rows(next(read_examples(tmp_path / "data.jsonl")), 1024)
    assert report.n_rows == 12
    assert report.loss_tokens == 12 * sum(row.trained)
    assert report.tokens == 12 * report.longest
    assert sum(report.histogram.values()) == 12
    (upper,) = report.histogram
    assert upper // 2 < report.longest <= upper


def test_truncated_examples_warn(tmp_path, renderer):
    """Examples that are too long are cut at the end, counted so, and named in a warning."""
    long = chat(user(), answer(content="yes " * 500))
    report = check(write(tmp_path, lines(long, GOOD, long)), renderer=renderer, context_length=64)
    assert report.n_truncated == 2
    assert report.longest == 64
    assert "In the training file: Longer than 64 tokens" in report.warnings[0]
    assert "2 examples (13, 15)" in report.warnings[0]


def test_untrained_examples_warn(tmp_path, renderer):
    """Examples without a token to learn from are named, and the job goes on with the others."""
    untrained = chat(user(), answer(weight=0))
    lost = chat(user(content="why " * 500), answer())
    path = write(tmp_path, lines(untrained, lost))
    report = check(path, renderer=renderer, context_length=64)
    assert report.n_untrained == 2
    assert report.n_rows == 12
    assert any(
        "Without a token to learn from" in warning and "2 examples (13, 14)" in warning
        for warning in report.warnings
    )


def test_many_examples_are_only_counted(tmp_path, renderer):
    """A warning names ten examples and counts the rest."""
    untrained = chat(user(), answer(weight=0))
    report = check(write(tmp_path, lines(*[untrained] * 25)), renderer=renderer)
    assert "25 examples (13, 14, 15, 16, 17, 18, 19, 20, 21, 22, …)" in report.warnings[0]


@pytest.mark.parametrize("role", ["training", "validation"])
def test_nothing_trains(role, tmp_path, renderer):
    """A file of which no example trains ends the job, and says why none does."""
    path = write(tmp_path, lines(*[chat(user(), answer(weight=0))] * 10, n_good=0))
    with pytest.raises(
        JobFailure, match=r"No example has a token to learn from.*weights are 0"
    ) as f:
        check(path, role=role, renderer=renderer)
    assert f.value.code == f"invalid_{role}_file"


def test_refused_by_the_template(tmp_path, nano_dir):
    """An example that the base's template does not take is named, with the template's own reason."""
    base = copy_of(nano_dir, tmp_path / "base")
    source = (base / "chat_template.jinja").read_text()
    refuse = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
    )
    (base / "chat_template.jinja").write_text(refuse + source)
    path = write(tmp_path, lines(chat({"role": "system", "content": "x"}, user(), answer())))
    with pytest.raises(JobFailure) as failure:
        check(path, renderer=Renderer.load(base))
    assert failure.value.code == "invalid_training_file"
    assert (
        "Example 13 is refused by the base model's chat template: No system role (line 13)"
        in failure.value.message
    )


def test_bad_lines_are_told_first(tmp_path, nano_dir):
    """A bad last line is told before any example is rendered, which takes a hundred times as long."""

    class Untouched(Renderer):
        def render(self, *_):
            raise AssertionError("rendered")

    path = write(tmp_path, lines(b"{}"))
    with pytest.raises(JobFailure, match=r'missing key "messages" \(line 13\)'):
        check(path, renderer=Untouched.load(nano_dir))


def test_template_without_end_of_turn(tmp_path, nano_dir):
    """A template that ends answers without an end-of-turn token is told, with the examples."""
    base = copy_of(nano_dir, tmp_path / "base")
    (base / "chat_template.jinja").write_text(
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    )
    report = check(write(tmp_path, lines()), renderer=Renderer.load(base))
    assert "without an end-of-turn token" in report.warnings[0]
    assert "12 examples (1, 2," in report.warnings[0]


def copy_of(base: Path, target: Path) -> Path:
    """A base's tokenizer and template, without its weights."""
    target.mkdir()
    for path in base.iterdir():
        if path.suffix != ".safetensors" and path.is_file():
            (target / path.name).write_bytes(path.read_bytes())
    return target


def test_reading_stops_at_fifty_problems(tmp_path):
    """After fifty problems the rest of the file is not read, and the text says that there may be more."""
    with pytest.raises(JobFailure, match="… and at least 49 more: lines 2, 3, 4"):
        check(write(tmp_path, b"{}\n" * 1000))


def test_stop(tmp_path):
    """A check that is asked to stop says nothing about the file."""
    path = write(tmp_path, lines(n_good=1000))
    with pytest.raises(CheckStopped):
        check_file(path, role="training", file_id="f", context_length=64, should_stop=lambda: True)


def test_memory_is_flat(tmp_path):
    """A line without end and blank lines without end cost no more memory than other files."""
    endless = tmp_path / "endless.jsonl"
    with endless.open("wb") as file:
        file.truncate(200 * 2**20)
    tracemalloc.start()
    with pytest.raises(JobFailure, match=r"Example 1 is longer than 8 MiB \(line 1\)"):
        check(endless)
    with pytest.raises(JobFailure, match=r"has 0 example"):
        check(write(tmp_path, b"\n" * 100_000))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20


def test_lines_after_one_that_is_too_long(tmp_path):
    """Are counted as an editor does."""
    too_long = b"x" * (9 * 2**20)
    for before in (b"", lines(n_good=500)):
        content = before + too_long + b"\n" + lines(n_good=3) + b"{}\n"
        first = before.count(b"\n") + 1
        with pytest.raises(JobFailure, match=rf"\(line {first}\).* 1 more: line {first + 4}\."):
            check(write(tmp_path, content))


def test_a_file_of_blank_lines_is_read_at_once(tmp_path):
    """Stretches of blank lines are not looked at line by line; the first of them is told."""
    path = write(tmp_path, b"\n" * 50_000_000)
    began = time.process_time()
    with pytest.raises(JobFailure, match="has 0 example"):
        check(path)
    assert time.process_time() - began < 5
    with pytest.raises(JobFailure, match=r"blank line \(.*line 2\)"):
        check(write(tmp_path, lines(n_good=1) + b"\n" * 200_000 + lines(n_good=10)))


def test_shared_examples(tmp_path):
    """An example that is in both files is found, however its keys are ordered and spaced."""
    (tmp_path / "train.jsonl").write_bytes(lines())
    reordered = {"messages": [dict(reversed(m.items())) for m in GOOD["messages"]]}
    other = chat(user(), answer())
    text = "\n".join([json.dumps(reordered, indent=None), json.dumps(other)])
    (tmp_path / "valid.jsonl").write_text(text)
    shared = count_shared_examples(tmp_path / "train.jsonl", tmp_path / "valid.jsonl")
    assert shared == 1


KEYS = [
    *("messages", "tools", "functions", "content", "weight", "name", "type", "text"),
    *("refusal", "tool_calls", "function", "arguments", "id", "tool_call_id", "parameters"),
]
ROLES = ["system", "developer", "user", "assistant", "tool", "function", "human"]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*KEYS, "role"]), inner, max_size=4)
    ),
    max_leaves=5,
)
almost_messages = st.fixed_dictionaries(
    {"role": st.sampled_from(ROLES)}, optional=dict.fromkeys(KEYS, json_values)
)
almost_examples = st.fixed_dictionaries(
    {"messages": st.lists(almost_messages | json_values, max_size=4)},
    optional={"tools": json_values, "functions": json_values},
)
file_lines = st.lists(
    st.just(line()) | st.binary() | (almost_examples | json_values).map(json.dumps).map(str.encode),
    max_size=14,
)


@given(file_lines)
@example([b"\xed\xa0\x80"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes(any_path, lines_of_file):
    """Whatever a file holds, the check passes it or raises a JobFailure with one of OpenAI's codes."""
    any_path.write_bytes(b"\n".join(lines_of_file))
    try:
        n_examples, code = check(any_path).n_examples, None
    except JobFailure as failure:
        n_examples, code = 0, failure.code
    assert n_examples >= 10 or code in CODES
