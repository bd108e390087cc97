"""Pages that wait, pages whose server fails, and pages whose server is gone: in a browser, with scripts."""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import OpenPage, Watched
from tests.browser.sample_project import SampleProject

pytestmark = pytest.mark.browser

GONE = "The server does not answer"
NOTE_CLASSES = """() => {
  const note = () => sessionStorage.setItem("classes", document.body.className);
  new MutationObserver(note).observe(document.body, { attributes: true });
}"""
PROBLEM = '<div class="problem" role="alert"><p><strong>It broke</strong></p></div>'


@pytest.fixture
def watched(open_page: OpenPage) -> Iterator[Watched]:
    """A page whose requests may fail: Chromium tells of each on its console."""
    opened = open_page("/ui/jobs")
    yield opened
    opened.complaints[:] = [each for each in opened.complaints if "load resource" not in each]


@pytest.fixture
def page(watched: Watched) -> Page:
    return watched.page


class Late:
    """Holds what a page asks for until it is let go."""

    def __init__(self, page: Page, url: str) -> None:
        self._held: list[Route] = []
        page.route(url, lambda route: self._held.append(route))  # noqa: PLW0108 - Playwright marks it

    def let_go(self) -> None:
        """Answer all that was asked."""
        for route in self._held:
            route.continue_()
        self._held.clear()


def press(page: Page, name: str) -> None:
    page.get_by_role("complementary").get_by_role("button", name=name).click()


def test_charts_say_that_they_load(page: Page, project: SampleProject):
    """While a job's numbers are on their way nothing says that there are none; a job without any says so then."""
    late = Late(page, "**/metrics")
    page.goto(f"/ui/jobs/{project.trained}")
    expect(page.locator(".chart-empty")).to_have_text("Loading the numbers…")
    late.let_go()
    expect(page.locator('[data-chart="loss"] canvas')).to_be_visible()
    expect(page.locator(".chart-empty")).to_be_hidden()
    page.goto(f"/ui/jobs/{project.job}")
    expect(page.locator(".chart-empty")).to_have_text("Loading the numbers…")
    late.let_go()
    expect(page.locator(".chart-empty")).to_contain_text("they come with the first step")


def test_charts_say_that_they_failed(page: Page, project: SampleProject):
    """Where the numbers cannot be had, a sentence stands in the place of the curves."""
    page.route("**/metrics", lambda route: route.fulfill(status=500))
    page.goto(f"/ui/jobs/{project.trained}")
    expect(page.locator(".chart-empty")).to_have_text(
        "The numbers could not be loaded. Reload the page."
    )


def test_an_estimate_says_that_it_is_made(page: Page, project: SampleProject):
    """While it is made the form says so; what breaks is told beside the form, which stays."""
    page.goto(f"/ui/jobs/new?training_file={project.hostile.training_file}")
    late = Late(page, "**/estimate")
    press(page, "Estimate")
    expect(page.locator("#busy")).to_be_visible()
    late.let_go()
    expect(page.locator("#answer")).to_contain_text("This would train")
    expect(page.locator("#busy")).to_be_hidden()
    page.get_by_label("Epochs").fill("7")
    page.unroute_all()
    page.route("**/estimate", lambda route: route.fulfill(status=500, body=PROBLEM))
    press(page, "Estimate")
    expect(page.locator("#answer")).to_have_text("It broke")
    expect(page.get_by_label("Epochs")).to_have_value("7")


def test_a_question_that_comes_late_is_waited_for(page: Page, project: SampleProject):
    """The link shows that it was pressed until the dialogue is there."""
    page.goto(f"/ui/models?search={project.tuned_model}")
    late = Late(page, "**/ui/models/delete*")
    delete = page.get_by_role("link", name="Delete")
    delete.click()
    expect(delete).to_have_class(re.compile("htmx-request"))
    late.let_go()
    expect(page.get_by_role("dialog")).to_contain_text("Delete the model")


def test_a_question_about_what_is_gone_is_answered(page: Page, project: SampleProject):
    """Where there is nothing to ask, no empty dialogue opens: the page itself says why."""
    page.goto(f"/ui/models?search={project.tuned_model}")
    delete = page.get_by_role("link", name="Delete")
    delete.evaluate(
        "link => { link.href = '/ui/models/delete?model=gone';"
        " link.setAttribute('hx-get', link.href); }"
    )
    delete.click()
    expect(page.get_by_role("alert")).to_contain_text("The model 'gone' does not exist")
    page.get_by_role("link", name="To the page Models").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")


def test_an_upload_can_be_given_up(page: Page):
    """While a file goes up there is a bar and a way to stop, which is told then."""
    page.goto("/ui/files")
    Late(page, "**/ui/files")
    line = b'{"messages": [{"role": "assistant", "content": "Yo"}]}\n'
    sent = {"name": "late.jsonl", "mimeType": "application/jsonl", "buffer": line}
    page.get_by_label("File: drop it here").set_input_files(sent)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("progressbar")).to_be_visible()
    page.locator(".sending").get_by_role("button").click()
    expect(page.get_by_role("alert")).to_contain_text("Not uploaded")
    expect(page.get_by_role("progressbar")).to_have_count(0)


def test_answers_are_waited_for(page: Page):
    """Each column says that it waits, and that it takes long; an error says what to do, and the prompt stays."""
    page.goto("/ui/playground?model=nano")
    late = Late(page, "**/answers")
    page.fill("#prompt", "hi")
    page.keyboard.press("Control+Enter")
    state = page.locator(".column .state").first
    waiting = state.text_content()
    assert waiting
    expect(state).not_to_have_text(waiting, timeout=8000)
    late.let_go()
    expect(state).to_have_text("Answered")
    page.unroute_all()
    page.route("**/answers", lambda route: route.fulfill(status=500, body="broken"))
    page.keyboard.press("Control+Enter")
    expect(page.locator(".column .failure").first).to_contain_text("HTTP 500")
    expect(page.locator("#prompt")).to_have_value("hi")


def test_a_page_on_its_way_is_seen(page: Page):
    """From the click on the old page shows that another was asked for, and not when one comes back to it."""
    page.evaluate(NOTE_CLASSES)
    page.get_by_role("link", name="System").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("System")
    assert page.evaluate("sessionStorage.getItem('classes')") == "leaving"
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fine-tuning")
    expect(page.locator("body.leaving")).to_have_count(0)


def test_every_page_says_that_it_is_offline(watched: Watched, project: SampleProject):
    """Each says so within seconds, what stands on it stays, and the line goes when the server is back."""
    page, context = watched.page, watched.page.context
    opened = [page, *(context.new_page() for _ in project.paths()[1:])]
    for each, path in zip(opened, project.paths(), strict=True):
        each.goto(path, wait_until="domcontentloaded")
    context.set_offline(True)
    for each in opened:
        told = each.locator("#offline:not([hidden]), #notices:not(:empty)")
        if each.locator("#live:not([data-live])").count():
            continue  # of a job that is over: nothing of it changes any more
        expect(told, each.url).to_contain_text(GONE, timeout=40_000)
    context.set_offline(False)
    for each in opened:
        expect(each.get_by_text(GONE).locator("visible=true"), each.url).to_have_count(
            0, timeout=40_000
        )
    watched.complaints.clear()


def test_a_server_that_stops_is_told(browser, redis_server_url: str):
    """Also where the network is there and the server is not: on pages that follow it, and on forms."""
    from tests.api_server import running_server  # noqa: PLC0415

    with ThreadPoolExecutor(1) as thread, ExitStack() as stack:  # here Playwright's event loop runs
        server = thread.submit(stack.enter_context, running_server(redis_server_url)).result()
        context = browser.new_context(base_url=server.url, locale="en-GB")
        page = context.new_page()
        page.goto("/ui/sign-in")
        page.fill("#key", server.key)
        page.click("main button")
        form = context.new_page()
        form.goto("/ui/jobs/new")
        form.get_by_label("Suffix").fill("kept")
        thread.submit(stack.close).result()
        expect(page.locator("#offline")).to_contain_text(GONE, timeout=30_000)
        expect(form.locator("#notices")).to_contain_text(GONE, timeout=30_000)
        expect(form.get_by_label("Suffix")).to_have_value("kept")
        context.close()
