"""Keys, models and the system with scripts: questions in dialogues, a key that is shown once, what follows by itself."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import OpenPage
from tests.browser.sample_project import SampleProject

if TYPE_CHECKING:  # not before `pytest_configure` has chosen the SQLite
    from tests.api_server import Server

pytestmark = pytest.mark.browser


def beside(act: Callable[..., str], **asked: object) -> str:
    """Do something that has an event loop of its own, beside Playwright's."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(act, **asked).result()


def test_a_model_goes_after_a_question(open_page: OpenPage, project: SampleProject):
    """Delete asks in a dialogue that Escape leaves; saying yes deletes."""
    name = project.passing_model
    page = open_page(f"/ui/models?search={name}").page
    page.get_by_role("link", name="Delete").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(f"Delete the model {name}?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Delete").click()
    dialog.get_by_role("button", name="Delete").click()
    expect(page.get_by_text(project.tuned_model)).to_be_visible()
    expect(page.get_by_text(name)).to_have_count(0)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "none"])
def test_a_key_is_made_and_revoked(open_page: OpenPage, project: SampleProject, scripts):
    """With scripts and without, a restricted key is made, shown once, and revoked after a question."""
    name = f"browser {scripts}"
    page = open_page("/ui/keys?project=proj_default", is_admin=True, scripts=scripts).page
    page.get_by_label("Name").fill(name)
    scope = page.get_by_label("api.files.read")
    expect(scope).to_be_hidden()
    page.get_by_label("Only what is ticked").check()
    scope.check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_label(name)).to_have_value(re.compile(r"sk-proj-\w{49}"))
    page.get_by_role("link", name="I have saved it").click()
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("1 permission(s)")
    row.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke").click()
    expect(page.get_by_role("row").filter(has_text=name)).to_have_count(0)


def test_models_follow_what_the_engine_holds(
    server: "Server", open_page: OpenPage, project: SampleProject
):
    """A model that a job left and somebody asks is listed, then in memory; what was typed and focused stays."""
    page = open_page("/ui/models").page
    expect(page.get_by_text(project.tuned_model)).to_be_visible()
    name = beside(server.add_tuned_model, suffix="followed")
    row = page.get_by_role("row").filter(has_text=name)
    expect(row).to_contain_text("Loaded when asked")
    ask = row.get_by_role("link", name="Ask it")
    ask.focus()
    page.locator("#search").evaluate("field => { field.value = 'ba' }")
    httpx.post(
        f"{server.url}/v1/chat/completions",
        headers={"authorization": f"Bearer {server.key}"},
        json={"model": name, "messages": [{"role": "user", "content": "Hi"}]},
    ).raise_for_status()
    expect(row).to_contain_text("In memory", timeout=15_000)
    expect(ask).to_be_focused()
    expect(page.locator("#search")).to_have_value("ba")


def test_the_system_follows_its_queue(server: "Server", open_page: OpenPage):
    """A job that comes is counted without a reload."""
    page = open_page("/ui/system").page
    counted = page.locator("dt:has-text('Queued') + dd")
    before = int(counted.inner_text())
    beside(server.add_job, status="queued")
    expect(counted).to_have_text(str(before + 1), timeout=15_000)
