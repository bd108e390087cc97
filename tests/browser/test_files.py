"""Files as people send them: with scripts and without."""

import json

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage

pytestmark = pytest.mark.browser

EXAMPLE = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}
FILE = {
    "name": "train.jsonl",
    "mimeType": "application/jsonl",
    "buffer": (json.dumps(EXAMPLE) + "\n").encode() * 12,
}


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "plain"])
def test_a_file_is_sent(open_page: OpenPage, scripts):
    """Choosing a file and pressing Upload leads to the file, with scripts and without."""
    page = open_page("/ui/files", scripts=scripts).page
    page.get_by_label("File: drop it here").set_input_files(FILE)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("train.jsonl")
    expect(page.locator(".example")).to_have_count(12)


def test_a_file_is_dropped(open_page: OpenPage):
    """Dropping a file on the form sends it."""
    page = open_page("/ui/files").page
    dropped = page.evaluate_handle(
        """(text) => {
            const dropped = new DataTransfer();
            dropped.items.add(new File([text], "dropped.jsonl"));
            return dropped;
        }""",
        FILE["buffer"].decode(),
    )
    page.dispatch_event(".drop", "drop", {"dataTransfer": dropped})
    expect(page.get_by_role("heading", level=1)).to_have_text("dropped.jsonl")


def test_a_refusal_is_told_at_the_field(open_page: OpenPage):
    """What the server refuses is said in the server's words, and the form stays."""
    watched = open_page("/ui/files")
    page = watched.page
    page.get_by_label("File: drop it here").set_input_files({**FILE, "buffer": b"\xff\xfe"})
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("The file is not UTF-8 text")
    expect(page.locator("progress")).to_have_count(0)
    watched.complaints.clear()  # Chromium calls a status of 400 an error


def test_an_upload_without_a_server_is_told(open_page: OpenPage):
    """Where the server cannot be reached, the page says so, and that nothing was kept."""
    watched = open_page("/ui/files")
    page = watched.page
    page.get_by_label("File: drop it here").set_input_files(FILE)
    page.context.set_offline(True)
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_role("alert")).to_contain_text("could not be reached")
    watched.complaints.clear()
