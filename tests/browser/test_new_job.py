"""The form of a job in a browser: what scripts add, and that it is whole without them."""

import json

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.sample_project import SampleProject

pytestmark = pytest.mark.browser

NEW = "/ui/jobs/new"
EXAMPLE = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
FILE = {
    "name": "fresh.jsonl",
    "mimeType": "application/jsonl",
    "buffer": (json.dumps(EXAMPLE) + "\n").encode() * 12,
}


def press(page: Page, name: str) -> None:
    page.get_by_role("complementary").get_by_role("button", name=name).click()


def test_a_job_is_made_with_a_new_file(open_page: OpenPage):
    """A chosen file goes up at once and becomes the choice; Create leads to the job."""
    page = open_page(NEW).page
    page.locator("#training_upload").set_input_files(FILE)
    expect(page.get_by_label("Training data", exact=True)).not_to_have_value("")
    page.get_by_label("Suffix").fill("Fresh Bot")
    expect(page.locator("output")).to_have_text("ft:nano:local:fresh-bot:…")
    press(page, "Create")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fresh Bot")


def test_a_job_is_made_without_scripts(open_page: OpenPage):
    """Upload, then Create: two plain forms' worth of clicking, and what was typed before is kept."""
    page = open_page(NEW, scripts=False).page
    page.get_by_label("Suffix").fill("Plain Bot")
    page.locator("#training_upload").set_input_files(FILE)
    page.get_by_role("button", name="Upload").first.click()
    expect(page.locator("#training_file option:checked")).to_contain_text("fresh.jsonl")
    press(page, "Create")
    expect(page.get_by_role("heading", level=1)).to_have_text("Plain Bot")


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_code_is_shown(open_page: OpenPage, project: SampleProject, scripts):
    """The same as code is shown beside the form, which stays as it was filled in."""
    page = open_page(f"{NEW}?training_file={project.file}", scripts=scripts).page
    page.get_by_label("Epochs").fill("7")
    press(page, "As code")
    expect(page.get_by_label("Python", exact=True)).to_contain_text('"n_epochs": 7')
    expect(page.get_by_label("Epochs")).to_have_value("7")


def test_what_is_wrong_is_linked(open_page: OpenPage, project: SampleProject):
    """Who asks for an estimate of what cannot be is told beside the form, with a link to the field."""
    watched = open_page(f"{NEW}?training_file={project.file}")
    page = watched.page
    page.get_by_label("Epochs").fill("99")
    page.get_by_label("Epochs").press("Enter")
    page.get_by_role("link", name="Epochs").click()
    assert page.url.endswith("#n_epochs")
    watched.complaints.clear()  # Chromium calls a status of 400 an error


def test_an_estimate_without_a_server_is_told(open_page: OpenPage, project: SampleProject):
    """Where the server cannot be reached, the form says so and stays as it was."""
    watched = open_page(f"{NEW}?training_file={project.file}")
    page = watched.page
    page.get_by_label("Epochs").fill("7")
    page.context.set_offline(True)
    press(page, "Estimate")
    expect(page.locator("#answer")).to_contain_text("The server did not answer")
    expect(page.get_by_label("Epochs")).to_have_value("7")
    watched.complaints.clear()


def test_only_what_was_chosen_is_asked(open_page: OpenPage):
    """The share and the file to validate with are asked for where somebody wants one."""
    page = open_page(NEW).page
    expect(page.get_by_label("Share to hold out")).to_be_hidden()
    page.get_by_label("Hold out a share").check()
    expect(page.get_by_label("Share to hold out")).to_be_visible()
    page.get_by_label("A file of its own").check()
    expect(page.get_by_label("Validation file")).to_be_visible()
    expect(page.get_by_label("Share to hold out")).to_be_hidden()
