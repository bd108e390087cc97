"""The report of a job as a page: what it says, what it shows, and what it says where there is none."""

import re
from html import unescape

import httpx
import pytest

from api.dashboard.messages import Messages
from api.dashboard.report_view import confusion_rows, notes_of
from schemas.report import Case, Confusion, JobReport, LeftOut, Report
from tests.api_server import Server
from tests.sample_reports import add_report, labelled, report, said


@pytest.fixture(scope="module")
def made() -> Report:
    """Twelve wins, a loss, two ties, and one whose answer calls a function, with markup in it."""
    cases = [
        *labelled(12),
        Case(reference=said("card_lost"), base=said("card_lost"), tuned=said("card_stolen")),
        *[Case(reference=said("card_lost"), base=said("x"), tuned=said("y"))] * 2,
        Case(
            reference=said("<b>card</b> lost"),
            base=said("", ("look_up", '{"card": 1}')),
            tuned=said("<b>card</b> stolen"),
        ),
    ]
    return report(cases, prompts={16: "<script>alert(1)</script>"})


@pytest.fixture(scope="module")
def job(server: Server, made: Report) -> str:
    return add_report(server, made, file_id="file-1")


def text_of(page: str) -> str:
    """What a reader reads, in one line."""
    return " ".join(unescape(re.sub("<[^>]+>", " ", page)).split())


def numbers(page: str) -> list[int]:
    return [int(number) for number in re.findall(r'<h3 id="example-(\d+)"', page)]


def test_the_verdict_comes_first_with_its_interval(reader: httpx.Client, job: str, made: Report):
    """The page begins with who is better, by how much, how sure that is, and on how many examples."""
    text = text_of(reader.get(f"/ui/jobs/{job}/report").text)
    assert f"{made.tuned_model} is better than its base, {made.base_model}." in text
    assert "exact match: 75 % against 6.2 %" in text
    assert "(95 % interval" in text
    assert "on 16 examples" in text
    assert text.index("is better than") < text.index("Measures")


def test_every_measure_stands_in_the_table(reader: httpx.Client, job: str, made: Report):
    """Each measure with base, tuned model, difference, and on how many examples it is better and worse."""
    text = text_of(reader.get(f"/ui/jobs/{job}/report").text)
    for each in made.scores.measures:
        assert f"{each.n_better} / {each.n_worse}" in text
    assert "BLEU" in text or made.scores.bleu is None
    assert "Confusion table" in text


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        ("", list(range(1, 11))),
        ("?page=2", list(range(11, 17))),
        ("?page=99", list(range(11, 17))),
        ("?outcome=loss", [13]),
        ("?outcome=tie", [14, 15, 16]),
        ("?outcome=win&page=2", [11, 12]),
        ("?outcome=other", []),
    ],
)
def test_examples_are_shown_by_their_outcome(reader: httpx.Client, job: str, query, shown):
    """Wins, losses and ties, ten on a page."""
    assert numbers(reader.get(f"/ui/jobs/{job}/report{query}").text) == shown


def test_answers_are_text_and_marked_where_they_differ(reader: httpx.Client, job: str):
    """Each answer is told apart from the reference, a call is written out, and markup is text."""
    page = reader.get(f"/ui/jobs/{job}/report?outcome=tie").text
    assert "&lt;b&gt;card&lt;/b&gt; <mark>stolen</mark>" in page
    assert "look_up" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_an_example_is_asked_again_by_a_click(server: Server, reader: httpx.Client, made: Report):
    """`Ask both` brings the example to the playground, with both models and nothing of it in a URL."""
    line = (
        '{"messages":[{"role":"user","content":"secret words"},'
        '{"role":"assistant","content":"card_lost"}]}\n'
    )
    headers = {"authorization": f"Bearer {server.key}"}
    file = httpx.post(
        f"{server.url}/v1/files",
        headers=headers,
        data={"purpose": "fine-tune"},
        files={"file": ("a.jsonl", line * 3)},
    ).json()["id"]
    job = add_report(server, made, file_id=file)
    page = reader.get(f"/ui/jobs/{job}/report").text
    form = re.findall(r'<form method="post" action="/ui/playground">(.*?)</form>', page, re.DOTALL)
    fields = {
        name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="(.*?)"', form[1])
    }
    answer = reader.post("/ui/playground", data=fields)
    assert answer.status_code == 200
    assert "secret words</textarea>" in answer.text
    assert "Reference answer of example 2" in answer.text
    assert "secret" not in str(answer.request.url)
    chosen = {
        unescape(name) for name in re.findall(r"<option selected>(.*?)</option>", answer.text)
    }
    assert chosen >= {made.base_model, made.tuned_model}


@pytest.mark.parametrize(
    ("status", "known", "words"),
    [
        ("running", None, "the job is not done"),
        ("failed", None, "the job ended without a model"),
        ("succeeded", None, "It ended before reports were made"),
        ("succeeded", JobReport(status="pending"), "waits for a worker"),
        ("succeeded", JobReport(status="running"), "is being made"),
        (
            "succeeded",
            JobReport(status="failed", reason="Killed <twice>."),
            "Killed &lt;twice&gt;.",
        ),
        ("succeeded", JobReport(status="skipped", reason="Turned off."), "Turned off."),
        ("succeeded", JobReport(status="done", file_id="file-gone"), "its file was deleted"),
    ],
)
def test_a_report_that_is_not_there_says_why(server, reader, status, known, words):
    """Each state has its own page, with what happens next or what to do."""
    job = server.add_job(status=status, report=known, fine_tuned_model=None)
    answer = reader.get(f"/ui/jobs/{job}/report")
    assert answer.status_code == 200
    assert words in answer.text
    is_live = status == "running" or (known is not None and known.status in {"pending", "running"})
    assert ("data-live" in answer.text) == is_live


def test_a_page_that_waits_is_loaded_anew(reader: httpx.Client, job: str):
    """The live part of a page that waited for a report asks its browser for the whole page."""
    answer = reader.get(f"/ui/jobs/{job}/report", headers={"hx-request": "true"})
    assert answer.headers["hx-refresh"] == "true"


def test_nobody_elses_report_is_there(reader: httpx.Client):
    """A job that is not the reader's has no report either."""
    assert reader.get("/ui/jobs/ftjob-nowhere/report").status_code == 404


MANY = {
    "n_in_training": 3,
    "n_candidates": 4,
    "left_out": [LeftOut(reason="too_long", n=2, detail="Too long.")],
}


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"source": "training_file"},
        {"n_in_training": None},
        MANY,
        {"source": "validation_split", **MANY},
    ],
)
def test_notes_are_said_in_the_readers_language(update):
    """Every note that a report can have has its message; the English ones are the report's own, word for word."""
    few = [Case(reference=said("a"), base=said("b", is_cut=True), tuned=said("a", is_cut=True))] * 3
    made = report(few, **update)
    assert made.notes
    assert notes_of(made, Messages("en")) == made.notes
    chinese = notes_of(made, Messages("zh"))
    assert len(chinese) == len(made.notes)
    assert not set(chinese) & set(made.notes)


def test_a_note_that_is_not_known_is_shown_as_it_is():
    """A report of another version keeps its own words."""
    made = report(labelled()).model_copy(update={"notes": ["Something new."]})
    assert notes_of(made, Messages("zh")) == ["Something new."]


def test_a_confusion_table_is_shaded_by_its_rows():
    """The darker a cell, the more of its row; the diagonal is what is right."""
    confusion = Confusion(labels=["a", "b"], base=[[8, 1, 0], [0, 0, 0]], tuned=[[0, 0, 0]] * 2)
    first, second = confusion_rows(confusion)["base"]
    assert [(cell.n, cell.shade, cell.is_right) for cell in first] == [
        (8, 4, True),
        (1, 1, False),
        (0, 0, False),
    ]
    assert [cell.is_right for cell in second] == [False, True, False]
