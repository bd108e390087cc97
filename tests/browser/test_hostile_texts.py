"""No text that somebody wrote does anything: each is read as it was written, wherever it is printed."""

import html
import json
import re
from collections.abc import Iterator, Mapping
from functools import partial
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Locator, Page, Request, Response, expect

from tests.browser.conftest import OpenPage, Watched
from tests.browser.hostile_texts import HARMFUL, SINKS, TEXTS, VISITS, Hostile, Visit, spellings
from tests.browser.sample_project import SampleProject

pytestmark = pytest.mark.browser

ANSWERS = "**/ui/playground/answers"
MADE = """() => {
  const schemes = /^\\s*(javascript|data|vbscript):/i;
  const found = [];
  for (const each of document.querySelectorAll("*")) {
    if (each.hasAttribute("data-xss")) found.push(each.outerHTML);
    for (const { name, value } of each.attributes) {
      const isAddress = ["href", "src", "action", "formaction", "hx-get", "hx-post"].includes(name);
      if (/^(on|hx-on)/.test(name) || name === "srcdoc" || (isAddress && schemes.test(value)))
        found.push(each.outerHTML);
    }
  }
  return found;
}"""
"""What a text has made of itself: an element, a handler, an address that runs."""
READ = """() => {
  const texts = [document.documentElement.textContent];
  for (const each of document.querySelectorAll("*")) {
    for (const { name, value } of each.attributes)
      texts.push(name === "href" ? decodeURIComponent(value.replaceAll("+", " ")) : value);
    if ("value" in each) texts.push(String(each.value));
  }
  return texts;
}"""
"""All that a page says: its text, its attributes and its fields."""
SEND = """([action, fields]) => {
  const form = document.createElement("form");
  Object.assign(form, { method: "post", action });
  const token = document.querySelector('meta[name="csrf-token"]').content;
  for (const [name, value] of Object.entries({ csrf_token: token, ...fields })) {
    const field = document.createElement("textarea");
    [field.name, field.value] = [name, value];
    form.append(field);
  }
  document.body.append(form);
  form.submit();
}"""


@pytest.fixture
def people(open_page: OpenPage) -> Iterator[Mapping[bool, Watched]]:
    """Somebody with a project's key, and an administrator; to ask for what a text names is a complaint."""
    watched = {is_admin: open_page("/ui/keys", is_admin=is_admin) for is_admin in (False, True)}
    for each in watched.values():
        each.page.on("request", partial(refuse_texts, watched=each))
    yield watched
    for each in watched.values():  # Chromium tells each error's status on its console
        each.complaints[:] = [said for said in each.complaints if "load resource" not in said]


def refuse_texts(asked: Request, watched: Watched) -> None:
    if re.search("/(x|xss)$", urlsplit(asked.url).path):
        watched.complaints.append(f"asks {asked.url}")


def go(page: Page, visit: Visit, hostile: Hostile) -> Response:
    """Look at a page, or send a form to it."""
    path = hostile.fill_in(visit.path)
    if visit.form is None:
        answer = page.goto(path)
    else:
        fields = {name: hostile.fill_in(value) for name, value in visit.form.items()}
        page.goto("/ui/keys")
        with page.expect_navigation() as navigation:
            page.evaluate(SEND, [path, fields])
        answer = navigation.value
    assert answer is not None
    return answer


def says(told: list[str], text: str) -> bool:
    """Whether a page says a text, spaces aside, as it is or as code."""
    wanted = [" ".join(spelled.split()) for spelled in spellings(text)]
    return any(each in said for each in wanted for said in told)


def test_what_was_written_is_read(people: Mapping[bool, Watched], project: SampleProject):
    """Every page prints every text as it was written, and none becomes an element, a handler or a request."""
    wrong = []
    for name, visit in VISITS.items():
        page = people[visit.is_admin].page
        answer = go(page, visit, project.hostile)
        if answer.status != visit.status:
            wrong.append(f"{name}: {answer.status}")
        wrong += [f"{name}: {made}" for made in page.evaluate(MADE)]
        told = [" ".join(said.split()) for said in page.evaluate(READ)]
        wrong += [
            f"{name}: {sink.template}: {sink.expression}: {sink.text}"
            for sink in SINKS
            if sink.visit == name and not says(told, TEXTS[sink.text])
        ]
    assert wrong == []


@pytest.fixture
def playground(people: Mapping[bool, Watched], project: SampleProject) -> Page:
    """A base in column A, a tuned model in column B."""
    page = people[False].page
    page.goto(f"/ui/playground?model=nano&model={quote(project.tuned_model)}")
    return page


def test_answers_are_read(playground: Page):
    """What models say is text while it streams, once it is marked, as a turn of a conversation, and in a vote."""
    playground.get_by_label("Go on from the answers").check()
    for text in HARMFUL:
        playground.fill("#prompt", f"learned {text}")
        playground.keyboard.press("Control+Enter")
        answers = playground.locator(".column:visible .said")
        expect(answers.nth(1)).to_have_text(text)
        expect(playground.locator("#votes")).to_be_visible()
        assert playground.evaluate(MADE) == [], text
    turns = playground.locator(".column:visible .turns").nth(1)
    for text in HARMFUL[:-1]:
        expect(turns).to_contain_text(text)


def test_what_a_model_calls_is_read(playground: Page):
    """Names of models and of functions, and errors, are text too, wherever a stream brings them."""
    text = TEXTS["typed prompt"]
    call = {"index": 0, "id": text, "function": {"name": text, "arguments": text}}
    chunk = {"model": text, "choices": [{"delta": {"tool_calls": [call]}, "finish_reason": text}]}
    refused = {"error": {"message": text, "code": text}}
    streams = [f"data: {json.dumps(each)}\n\n" for each in (chunk, refused)]
    told = {"status": 200, "content_type": "text/event-stream"}
    playground.route(
        ANSWERS, lambda route: route.fulfill(body=f"{streams[0]}data: [DONE]\n\n", **told)
    )
    column = ask(playground, "hi")
    expect(column.locator(".state")).to_have_text("Answered")
    for place in (".who", ".mismatch", ".said", '[data-fact="finish"]'):
        expect(column.locator(place)).to_contain_text(text)
    assert playground.evaluate(MADE) == []
    playground.route(ANSWERS, lambda route: route.fulfill(body=streams[1], **told))
    expect(ask(playground, "hi").locator(".failure")).to_contain_text(text)
    playground.route(ANSWERS, lambda route: route.fulfill(status=400, json=refused))
    expect(ask(playground, "hi").locator(".failure")).to_contain_text(text)
    assert playground.evaluate(MADE) == []


def ask(page: Page, prompt: str) -> Locator:
    """Ask both columns, and return the first."""
    page.fill("#prompt", prompt)
    page.keyboard.press("Control+Enter")
    return page.locator(".column").first


def test_votes_are_whole_lines_of_json(playground: Page):
    """Whatever was asked and answered, each line of the export is an example of OpenAI's preference format."""
    text = TEXTS["answer"]
    playground.fill("#system", text)
    ask(playground, f"learned {text}")
    playground.get_by_role("button", name="B is best").click()
    with playground.expect_download() as downloading:
        playground.get_by_role("button", name="Export").click()
    lines = downloading.value.path().read_text().splitlines(keepends=True)
    (row,) = ["".join(lines)]  # U+2028 is a line break to Python, and none to JSON Lines
    assert row.count("\n") == 1
    asked, prompt = json.loads(row)["input"]["messages"]
    assert asked["content"] == text
    assert prompt["content"] == f"learned {text}"
    assert json.loads(row)["preferred_output"] == [{"role": "assistant", "content": text}]


def test_charts_name_their_curves(people: Mapping[bool, Watched], project: SampleProject, tmp_path):
    """A job's name is text in legends, sentences and tables; the picture and the numbers are named by its id."""
    page = people[False].page
    page.goto(f"/ui/compare?jobs={project.hostile.job},{project.running}")
    loss = page.locator('[data-chart="loss"]')
    loss.get_by_text("As a table").click()
    expect(loss.locator("thead")).to_be_visible()
    for each in (loss.locator(".u-legend"), loss.locator("thead")):
        assert TEXTS["suffix"] in (each.text_content() or "")
    assert TEXTS["suffix"] in (loss.locator(".plot").get_attribute("aria-label") or "")
    assert page.evaluate(MADE) == []
    with page.expect_download() as downloading:
        loss.get_by_role("button").click()
    assert downloading.value.suggested_filename.startswith(project.hostile.job)
    page.goto(f"/ui/jobs/{project.hostile.job}")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="CSV").click()
    assert downloading.value.suggested_filename == f"{project.hostile.job}.csv"
    rows = downloading.value.path().read_text().splitlines()
    assert all(re.fullmatch(r"[\w.,-]*", row) for row in rows), "numbers and nothing else"


def test_a_file_is_kept_under_a_name_that_is_one(people: Mapping[bool, Watched], project):
    """A download keeps what it can of a file's name, and lies beside the others."""
    page = people[False].page
    page.goto(f"/ui/files/{project.hostile.file}")
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download").click()
    assert "/" not in downloading.value.suggested_filename


def test_a_question_in_a_dialogue_is_read(people: Mapping[bool, Watched]):
    """What is fetched into a dialogue, and swapped in, is text as on a page of its own."""
    page = people[False].page
    page.goto("/ui/models")
    page.get_by_role("row").filter(has_text="[tuned model]").get_by_role(
        "link", name="Delete"
    ).click()
    expect(page.get_by_role("dialog")).to_contain_text(TEXTS["tuned model"])
    assert page.evaluate(MADE) == []


def test_what_scripts_are_told_is_read(people: Mapping[bool, Watched]):
    """A file's name in a choice, and what the server says of one, are text where a script puts them."""
    page = people[False].page
    page.goto("/ui/jobs/new")
    name = "<img data-xss src=x onerror=alert(1)>\u202e.jsonl"
    line = json.dumps({"messages": [{"role": "assistant", "content": "Yo"}]}).encode()
    sent = {"name": name, "mimeType": "application/jsonl", "buffer": line}
    page.locator("#training_upload").set_input_files(sent)
    expect(page.locator("#training_file option:checked")).to_have_text(name)
    body = f"<p class=problem>{html.escape(TEXTS['error message'])}</p>"
    page.route("**/ui/files", lambda route: route.fulfill(status=400, body=body))
    page.locator("#training_upload").set_input_files(sent)
    expect(page.locator("#training_upload-error")).to_contain_text(TEXTS["error message"])
    assert page.evaluate(MADE) == []
