"""The playground in a browser: columns that stream, and that cannot be taken for each other."""

import json
import re
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from tests.browser.conftest import OpenPage
from tests.browser.sample_project import SampleProject
from tests.browser.test_pages import violations
from tests.fake_engine import WORDS

pytestmark = pytest.mark.browser

HELLO = "".join(WORDS)
ANSWERS = "**/ui/playground/answers"


@pytest.fixture
def page(open_page: OpenPage, project: SampleProject) -> Iterator[Page]:
    """A base in column A, a tuned model in column B."""
    watched = open_page(f"/ui/playground?model=nano&model={project.tuned_model}")
    yield watched.page
    # An answer with an error's status is told by Chromium on its console too.
    watched.complaints[:] = [each for each in watched.complaints if "load resource" not in each]


def ask(page: Page, prompt: str) -> None:
    page.fill("#prompt", prompt)
    page.locator("#prompt").press("Control+Enter")


def column(page: Page, letter: str) -> Locator:
    return page.locator(f'[data-column="{letter}"]')


def test_each_column_shows_who_answered(page: Page, project: SampleProject):
    """All columns answer one prompt, each under the name that its answer carried, with what it took."""
    ask(page, "learned it by heart")
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)
    expect(column(page, "B").locator(".said")).to_have_text("it by heart")
    expect(column(page, "A").locator(".who")).to_have_text("nano")
    expect(column(page, "B").locator(".who")).to_have_text(project.tuned_model)
    expect(column(page, "B").locator('[data-fact="tokens"]')).to_have_text("7 + 4")
    expect(column(page, "B").locator('[data-fact="finish"]')).to_have_text("stop")
    expect(column(page, "B").locator('[data-fact="first"]')).to_have_text(re.compile(r"\d s"))


def test_an_answer_of_another_model_is_not_taken_for_the_asked_ones(page: Page):
    """Where a response carries another name than was asked for, the column says so aloud, and takes no votes."""

    def swap(route: Route) -> None:
        answer = route.fetch()
        body = re.sub(r'"model":"[^"]*"', '"model":"somebody-else"', answer.text())
        route.fulfill(response=answer, body=body)

    page.route(ANSWERS, swap)
    ask(page, "hi")
    expect(column(page, "B").locator(".who")).to_have_text("somebody-else")
    expect(column(page, "B").get_by_role("alert").first).to_contain_text(
        "says that it came from somebody-else"
    )
    expect(page.locator("#votes")).to_be_hidden()


def test_differences_are_marked(page: Page):
    """Words that column A does not say are marked in the others, and no longer when nobody wants it."""
    ask(page, f"learned {HELLO} indeed")
    expect(column(page, "B").locator("mark")).to_have_text(["indeed"])
    page.select_option("#compare", "nothing")
    expect(column(page, "B").locator("mark")).to_have_count(0)
    expect(column(page, "B").locator(".said")).to_have_text(f"{HELLO} indeed")


def test_stop_ends_all_columns(page: Page, server):
    """Escape stops every column; what was said by then stays, and each can be asked again."""
    before = server.engine.stopped_early
    ask(page, "hold")
    expect(column(page, "A").locator(".state")).to_have_text("Answering")
    expect(column(page, "B").locator(".state")).to_have_text("Answering")
    page.keyboard.press("Escape")
    expect(column(page, "A").locator(".state")).to_have_text("Stopped")
    expect(column(page, "B").locator(".state")).to_have_text("Stopped")
    expect(column(page, "A").get_by_role("button", name="Ask again")).to_be_enabled()
    for _ in range(200):
        if server.engine.stopped_early == before + 2:
            break
        page.wait_for_timeout(20)
    assert server.engine.stopped_early == before + 2


def test_a_limit_is_waited_for(page: Page, project: SampleProject):
    """A column at its limit says so, offers to ask again once the wait is over, and spoils no other column."""
    limited = {"message": "Rate limit reached.", "code": "rate_limit_exceeded", "type": "requests"}
    refusals = []

    def refuse_once(route: Route) -> None:
        is_tuned = route.request.post_data_json["model"] == project.tuned_model
        if refusals or not is_tuned:
            route.continue_()
            return
        refusals.append(1)
        route.fulfill(status=429, headers={"retry-after": "1"}, json={"error": limited})

    page.route(ANSWERS, refuse_once)
    ask(page, "hi")
    tuned = column(page, "B")
    expect(tuned.locator(".failure")).to_contain_text("Rate limit reached.")
    expect(tuned.locator(".failure")).to_contain_text("The project's limit")
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)
    again = tuned.get_by_role("button", name="Ask again")
    expect(again).to_be_enabled(timeout=5000)
    again.click()
    expect(tuned.locator(".said")).to_have_text(HELLO)
    expect(tuned.locator(".failure")).to_be_hidden()


def test_a_server_that_is_gone_loses_no_prompt(page: Page):
    """Offline, each column says what to do, and the prompt stays where it was typed."""
    page.route(ANSWERS, lambda route: route.abort())
    ask(page, "hi")
    expect(column(page, "A").locator(".failure")).to_contain_text("The server cannot be reached")
    expect(page.locator("#prompt")).to_have_value("hi")


def test_signing_in_anew_loses_no_prompt(page: Page, server):
    """Where the session is over, a column says so; it goes on once somebody signed in in another tab."""
    page.context.clear_cookies()
    ask(page, "say still here")
    expect(column(page, "A").locator(".failure")).to_contain_text("Your session is over")
    other = page.context.new_page()
    other.goto("/ui/sign-in")
    other.fill("#key", server.key)
    other.click("main button")
    other.close()
    column(page, "A").get_by_role("button", name="Ask again").click()
    expect(column(page, "A").locator(".said")).to_have_text("still here")


def test_an_answer_that_breaks_off_is_told(page: Page):
    """A stream without its end is no answer, however much of it came."""
    ask(page, "break")
    expect(column(page, "A").locator(".failure")).to_be_visible()
    expect(page.locator("#votes")).to_be_hidden()


def test_a_conversation_goes_on(page: Page, server):
    """With the box ticked, each column goes on from what it said itself."""
    page.get_by_label("Go on from the answers").check()
    ask(page, "learned it by heart")
    expect(column(page, "B").locator(".said")).to_have_text("it by heart")
    expect(page.locator("#prompt")).to_have_value("")
    ask(page, "say and now?")
    expect(column(page, "B").locator(".said")).to_have_text("and now?")
    asked = [request["messages"] for request in server.engine.requests[-2:]]
    assert sorted(messages[1]["content"] for messages in asked) == [HELLO, "it by heart"]
    expect(column(page, "B").locator(".turns")).to_contain_text("it by heart")


def test_votes_become_a_file_for_preference_tuning(page: Page):
    """A vote prefers one answer to the others, the last word on it counts, and a tie prefers none."""
    ask(page, "learned it by heart")
    page.get_by_role("button", name="A is best").click()
    page.get_by_role("button", name="B is best").click()
    expect(page.locator("#n-votes")).to_have_text("Votes kept: 1")
    ask(page, "learned another")
    expect(column(page, "B").locator(".said")).to_have_text("another")
    page.get_by_role("button", name="Tie").click()
    expect(page.locator("#n-votes")).to_have_text("Votes kept: 2")
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export").click()
    lines = downloading.value.path().read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {
            "input": {"messages": [{"role": "user", "content": "learned it by heart"}]},
            "preferred_output": [{"role": "assistant", "content": "it by heart"}],
            "non_preferred_output": [{"role": "assistant", "content": HELLO}],
        }
    ]


def test_columns_come_and_go(page: Page):
    """Columns are added, and removed, without losing the answers of the others."""
    ask(page, "hi")
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)
    page.get_by_role("button", name="Add a column").click()
    page.get_by_role("button", name="Remove column B").click()
    expect(page.locator(".column:visible")).to_have_count(2)
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)


def test_code_comes_without_leaving_the_answers(page: Page, project: SampleProject, server):
    """The code of all columns is swapped in beside the answers that are there."""
    ask(page, "hi")
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)
    page.locator(".share summary").click()
    page.get_by_role("button", name="Show link and code").click()
    expect(page.locator("#code pre").first).to_contain_text("client.chat.completions.create(")
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)
    assert server.key not in page.locator("#code").inner_text()
    link = page.get_by_role("link", name="Link to these settings").get_attribute("href")
    assert link == f"/ui/playground?model=nano&model={quote(project.tuned_model)}"


def test_answers_keep_nobody_out(open_page: OpenPage, project: SampleProject, look):
    """With answers, marks, votes, an error and code on it, axe finds nothing, and the page is no wider than a telephone."""
    watched = open_page(
        f"/ui/playground?model=nano&model={project.tuned_model}&model=ft:gone", width=360, **look
    )
    page = watched.page
    ask(page, "learned it by heart and for ever")
    expect(column(page, "B").locator("mark").first).to_be_visible()
    expect(column(page, "C").locator(".failure")).to_be_visible()
    page.locator(".share summary").click()
    page.locator('[value="code"]').click()
    expect(page.locator("#code pre").first).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    watched.complaints[:] = [each for each in watched.complaints if "load resource" not in each]


def test_it_asks_without_scripts(server, browser: Browser, project: SampleProject):
    """Where scripts are off the form itself asks, and nothing is shown that only a script could do."""
    context = browser.new_context(base_url=server.url, java_script_enabled=False, locale="en-GB")
    page = context.new_page()
    page.goto("/ui/sign-in")
    page.fill("#key", server.key)
    page.click("main button")
    page.goto(f"/ui/playground?model=nano&model={project.tuned_model}")
    page.fill("#prompt", "learned it by heart")
    page.get_by_role("button", name="Run all").click()
    expect(column(page, "A").locator(".said")).to_have_text(HELLO)
    expect(column(page, "B").locator(".said")).to_have_text("it by heart")
    expect(column(page, "B").locator(".who")).to_have_text(project.tuned_model)
    for name in ("Stop", "Ask again", "Tie"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    context.close()
