"""Getting about with the keyboard alone: letters that lead somewhere, and leave those alone who type or do not want them."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.test_pages import violations

pytestmark = pytest.mark.browser


def press(page: Page, keys: str) -> None:
    for key in keys.split():
        page.keyboard.press(key)


def test_two_letters_lead_to_each_page(open_page: OpenPage):
    """`g` and the letter of a page open it from any other, and `n` a new job."""
    page = open_page("/ui/jobs").page
    for letter, path in zip(
        "fpmuksj", ["files", "playground", "models", "usage", "keys", "system", "jobs"], strict=True
    ):
        press(page, f"g {letter}")
        page.wait_for_url(f"**/ui/{path}")
    press(page, "n")
    page.wait_for_url("**/ui/jobs/new")


def test_an_admin_s_letters_are_of_an_admin_s_pages(open_page: OpenPage):
    """Where there is no list of jobs, its letters do nothing."""
    page = open_page("/ui/keys", is_admin=True).page
    press(page, "g j n g u")
    page.wait_for_url("**/ui/usage")


def test_who_types_is_left_alone(open_page: OpenPage):
    """`/` leads to the search, where letters are text; with Ctrl, Alt or ⌘ they are the browser's."""
    page = open_page("/ui/jobs").page
    press(page, "/")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("g f n ? /")
    expect(page.locator("#search")).to_have_value("g f n ? /")
    page.locator("#search").evaluate("field => field.blur()")
    press(page, "Alt+g Alt+n Control+? Meta+n")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page).to_have_url(re.compile("/ui/jobs$"))


def test_the_list_of_keys_opens_and_closes(open_page: OpenPage):
    """With `?` or the button below; within it letters do nothing, and what was focused is again."""
    page = open_page("/ui/jobs").page
    link = page.get_by_role("link", name="Models")
    link.focus()
    press(page, "?")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(dialog.get_by_role("link", name="Create a fine-tuning job")).to_be_visible()
    press(page, "g f")
    press(page, "Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()
    expect(page).to_have_url(re.compile("/ui/jobs$"))
    page.get_by_role("button", name="Keyboard shortcuts").click()
    dialog.get_by_role("button", name="Close").click()
    expect(page.get_by_role("button", name="Keyboard shortcuts")).to_be_focused()


def test_the_list_of_keys_keeps_nobody_out(open_page: OpenPage, look):
    """A look by axe finds nothing on it, and it fits a telephone."""
    page = open_page("/ui/jobs", width=360, **look).page
    press(page, "?")
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations(page) == []
    assert page.get_by_role("dialog").evaluate("box => box.scrollWidth <= box.clientWidth")


def test_single_keys_can_be_turned_off(open_page: OpenPage):
    """At once, without losing what is on the page, and for good: until they are turned on again."""
    page = open_page("/ui/playground").page
    page.locator("#prompt").fill("half a sentence")
    button = page.get_by_role("button", name="Keyboard shortcuts")
    button.click()
    switch = page.get_by_role("dialog").get_by_role("button", name="Turn single keys")
    switch.click()
    expect(switch).to_have_text("Turn single keys on")
    press(page, "Escape g j ?")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.locator("#prompt")).to_have_value("half a sentence")
    page.goto("/ui/files")
    press(page, "g j ?")
    expect(page).to_have_url(re.compile("/ui/files$"))
    button.click()
    switch.click()
    expect(switch).to_have_text("Turn single keys off")
    press(page, "Escape g j")
    page.wait_for_url("**/ui/jobs")
