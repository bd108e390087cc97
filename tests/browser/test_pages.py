"""What holds for every page, in each language and theme."""

from itertools import product

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage, Watched
from tests.browser.sample_project import SampleProject

pytestmark = pytest.mark.browser

WIDTHS = (360, 768, 1440)


def violations(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def forgive_statuses(watched: Watched) -> None:
    """Take out what Chromium calls an error of the console: a page that is not there, or not for this key."""
    watched.complaints[:] = [each for each in watched.complaints if "status of 40" not in each]


def test_nothing_keeps_anybody_out(open_page: OpenPage, project: SampleProject, look):
    """A look by axe finds nothing on any page, and no browser complains of one."""
    for is_admin, paths in project.all_paths().items():
        watched = open_page("/ui/keys", is_admin=is_admin, **look)
        for path in paths:
            watched.page.goto(path)
            assert violations(watched.page) == [], path
        forgive_statuses(watched)


def test_the_way_in_keeps_nobody_out(open_page: OpenPage, look):
    """Nor on the page to sign in."""
    watched = open_page("/ui/sign-in", signed_in=False, **look)
    assert violations(watched.page) == []


def test_nothing_is_wider_than_the_window(open_page: OpenPage, project: SampleProject):
    """No page scrolls sideways, from a telephone to a wide screen."""
    for is_admin, paths in project.all_paths().items():
        watched = open_page("/ui/keys", is_admin=is_admin)
        for width, path in product(WIDTHS, paths):
            watched.page.set_viewport_size({"width": width, "height": 800})
            watched.page.goto(path)
            wide = watched.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, f"{path} at {width}"
        forgive_statuses(watched)


def test_the_language_follows_the_browser_until_it_is_chosen(open_page: OpenPage):
    """A Chinese browser gets Chinese, and keeps English once English was chosen."""
    page = open_page("/ui/jobs", language="zh").page
    expect(page.get_by_role("heading", level=1)).to_have_text("微调")
    page.get_by_role("button", name="English").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Fine-tuning")
    page.reload()
    expect(page.locator("html")).to_have_attribute("lang", "en")


def test_a_theme_that_was_chosen_is_there_from_the_first_paint(open_page: OpenPage):
    """The server itself renders the theme, so that no page flashes in another."""
    page = open_page("/ui/jobs", theme="light").page
    page.get_by_role("button", name="Auto").click()
    page.get_by_role("button", name="Light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(17, 20, 23)"


def test_the_keyboard_gets_to_the_content(open_page: OpenPage):
    """The first stop of the tabulator leads past the bar."""
    page = open_page("/ui/jobs").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize("is_https", [True, False], ids=["https", "http"])
def test_an_id_is_copied(open_page: OpenPage, project: SampleProject, is_https):
    """Also over plain HTTP in the house's own network, where browsers have no `navigator.clipboard`."""
    page = open_page("/ui/jobs").page
    if not is_https:
        page.add_init_script("delete Navigator.prototype.clipboard")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/ui/jobs/{project.trained}")
    assert page.evaluate("'clipboard' in navigator") == is_https
    page.get_by_role("button", name=f"Copy {project.trained}").click()
    page.goto("/ui/jobs")
    page.locator("#search").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("#search")).to_have_value(project.trained)
