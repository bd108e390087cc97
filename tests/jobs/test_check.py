"""The offline check: what it finds, and how it looks."""

import json
from io import StringIO

import pytest
from rich.console import Console

from jobs.check import check, print_report
from schemas.bases import BaseModelInfo
from schemas.errors import JobFailure
from schemas.fine_tuning import Hyperparameters
from tests.jobs.bad_files import GOOD, answer, chat, lines, user


@pytest.fixture
def base(nano_dir) -> BaseModelInfo:
    config = json.loads((nano_dir / "config.json").read_text())
    return BaseModelInfo(
        name="retune-nano",
        directory=nano_dir,
        context_length=128,
        hidden_size=config["hidden_size"],
        model_type=config["model_type"],
        n_parameters=1,
        digest="",
        created=0,
    )


@pytest.fixture
def checked(tmp_path, base):
    """Check a file of these bytes."""

    def run(content, base=base, **keys):
        path = tmp_path / "data.jsonl"
        path.write_bytes(content)
        return check(path, base, **{"max_rank": 64} | keys)

    return run


def shown(report, *, colour=False) -> str:
    """What a terminal of 80 columns shows."""
    console = Console(
        file=StringIO(),
        width=80,
        force_terminal=colour,
        color_system="standard" if colour else None,
    )
    print_report(report, console)
    return console.file.getvalue()


def test_good_file(checked):
    """A file that would train is called so, with its numbers and the steps that a job would take."""
    report = checked(lines(n_good=20))
    assert report.failure is None
    assert report.n_steps == 100
    text = shown(report)
    assert "✓ data.jsonl can train retune-nano." in text
    assert "100 steps of 1 example" in text
    assert "5 epochs, because 20 examples are few." in text
    assert f"{report.dataset.loss_tokens:,} are learned" in text
    assert "█" in text


def test_asked_for_hyperparameters(checked):
    """The steps follow the hyperparameters that would be asked for."""
    asked = Hyperparameters(n_epochs=2, batch_size=5)
    assert checked(lines(n_good=20), hyperparameters=asked).n_steps == 8


def test_learned_tokens_are_marked(checked):
    """The sample shows in brackets what is learned: the answer and its end, nothing else."""
    assert "⟦card_arrival<|im_end|>⟧" in shown(checked(lines()))


def test_sample_is_one_that_trains(checked):
    """The example shown is the first that has something to learn."""
    report = checked(lines(chat(user(), answer(weight=0)), *[GOOD] * 10, n_good=0))
    assert report.sample.example == 2


def test_every_problem_has_its_line(checked):
    """A file with problems shows each of them, and that a job would fail with which code."""
    report = checked(lines(chat(user(), answer(weight=2)), GOOD, {"prompt": "a"}))
    text = shown(report)
    assert report.failure.code == "invalid_training_file"
    assert "✗ data.jsonl cannot train retune-nano." in text
    assert "line 13" in text
    assert "weight 2, expected 0 or 1" in text
    assert "line 15" in text
    assert report.sample is None
    assert report.n_steps == 0


def test_many_problems(checked):
    """Ten problems are shown, and the others counted."""
    assert "… and 15 more lines." in shown(checked(lines(*[{}] * 25)))


def test_too_few_examples(checked):
    """A file that is only too small fails as the job would, and still shows what it holds."""
    text = shown(checked(lines(n_good=3)))
    assert "Training file has 3 example(s), but must have at least 10 examples" in text
    assert "⟦card_arrival" in text


def test_warnings(checked):
    """What would be cut or not learned is shown as a warning."""
    text = shown(checked(lines(chat(user(content="why " * 300), answer()))))
    assert "! Longer than 128 tokens, so cut at the end: 1 example (13)." in text


@pytest.mark.parametrize(
    ("content", "visible"),
    [("\x1b[31mred", "\\x1b[31mred"), ("\x07", "\\x07"), ("\u202eback", "\\u202eback")],
)
def test_file_cannot_speak_to_the_terminal(content, visible, checked):
    """Control characters in a file are shown, not obeyed."""
    text = shown(checked(lines(chat(user(content=content), answer()), *[GOOD] * 10, n_good=0)))
    assert visible in text
    assert content[0] not in text


def test_file_cannot_speak_to_rich(checked):
    """What looks like rich's markup is text."""
    chat_with_markup = chat(user(content="[bold]x[/nope]"), answer())
    text = shown(checked(lines(chat_with_markup, *[GOOD] * 10, n_good=0)))
    assert "[bold]x[/nope]" in text


def test_long_text_loses_its_middle(checked, base):
    """A long prompt is shown by its ends, so that the answer stays on the screen."""
    roomy = base.model_copy(update={"context_length": 4096})
    long = chat(user(content="first " + "why " * 1000 + "last"), answer())
    text = shown(checked(lines(long, *[GOOD] * 10, n_good=0), base=roomy))
    assert "first why" in text
    assert "characters…]" in text
    assert "last<|im_end|>" in text
    assert "⟦Hi<|im_end|>⟧" in text
    assert len(text.splitlines()) < 50


def test_fits_a_narrow_terminal(checked):
    """No line is longer than 80 columns."""
    report = checked(lines(chat(user(content="why " * 30), answer(content="so " * 40)), GOOD))
    assert max(map(len, shown(report).splitlines())) <= 80


def test_colour(checked):
    """With colour, what is learned is also green."""
    assert "\x1b[1;32m⟦" in shown(checked(lines()), colour=True)


def test_unusable_base(checked, base, tmp_path):
    """A base that cannot chat is told as a job's failure is."""
    with pytest.raises(JobFailure, match="cannot be used for chat"):
        checked(lines(), base=base.model_copy(update={"directory": tmp_path}))
