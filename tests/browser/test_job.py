"""The list and the page of a job while they are open: charts, and what changes by itself."""

import asyncio
import re
import threading
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from jobs import events
from jobs.store.jobs import Outcome
from jobs.store.store import open_store
from schemas.training import StepDone
from tests.api_server import Server
from tests.browser.conftest import OpenPage
from tests.browser.sample_project import SampleProject

pytestmark = pytest.mark.browser


def tell(server: Server, job_id: str, step: int, **changed: object) -> None:
    """Report a step as a worker does; beside Playwright's loop, in a thread of its own."""
    done = StepDone(
        step=step, total_steps=500, train_loss=0.125, train_mean_token_accuracy=0.9,
        learning_rate=1e-4, grad_norm=1.0, grad_clipped=False, tokens=900, seconds=0.25,
    )  # fmt: skip

    async def told() -> None:
        async with open_store(server.settings.effective_database_url) as store:
            await store.jobs.change(
                job_id,
                lambda found: Outcome(
                    record=found.model_copy(update={"job": found.job.model_copy(update=changed)}),
                    events=[events.step_done(done)],
                ),
            )

    thread = threading.Thread(target=lambda: asyncio.run(told()))
    thread.start()
    thread.join()


def chart(page: Page, name: str):
    return page.locator(f'[data-chart="{name}"]')


def test_charts_are_drawn_and_described(open_page: OpenPage, project: SampleProject):
    """Each chart has its curves, a sentence that says them, and a table of the numbers."""
    page = open_page(f"/ui/jobs/{project.trained}").page
    loss = chart(page, "loss")
    expect(loss.locator("canvas")).to_be_visible()
    expect(loss.get_by_role("img")).to_have_attribute(
        "aria-label", _began_with("Training loss: from")
    )
    loss.get_by_text("As a table").click()
    expect(loss.get_by_role("columnheader")).to_have_text(
        ["Step", "Training loss", "Validation loss", "Full validation loss"]
    )
    for name in ("accuracy", "learning_rate", "grad_norm", "speed"):
        expect(chart(page, name).locator("canvas")).to_be_visible()


def test_settings_change_the_charts(open_page: OpenPage, project: SampleProject, tmp_path: Path):
    """Smoothing adds a line beside each noisy one, the window leaves the beginning out; a picture can be kept."""
    page = open_page(f"/ui/jobs/{project.trained}").page
    loss = chart(page, "loss")
    expect(loss.locator(".u-series")).to_have_count(4)
    page.get_by_label("Smoothing").fill("0.8")
    expect(loss.locator(".u-series")).to_have_count(6)
    page.get_by_label("Logarithmic").check()
    page.get_by_label("Show").select_option("100")
    expect(loss.get_by_role("img")).to_have_attribute(
        "aria-label", _began_with("Training loss: .* at step 101 to")
    )
    with page.expect_download() as kept:
        loss.get_by_role("button").click()
    kept.value.save_as(tmp_path / "loss.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_job_that_runs_stays_up_to_date(server, open_page: OpenPage, project: SampleProject):
    """A step that is told while the page is open moves the progress and the curve, without a reload."""
    page = open_page(f"/ui/jobs/{project.running}").page
    expect(page.get_by_text("Step 200 of 200")).to_be_visible()
    tell(server, project.running, 201)
    expect(page.get_by_text("Step 201 of 500")).to_be_visible()
    expect(chart(page, "loss").get_by_role("img")).to_have_attribute(
        "aria-label", _began_with("Training loss: .* to 0.125 at step 201")
    )


def test_a_list_stays_up_to_date(server, open_page: OpenPage, project: SampleProject):
    """A job that is over says so in its row by itself; what was chosen in others stays so."""
    page = open_page("/ui/jobs").page
    row = page.locator(f"#row-{project.ending}")
    expect(row.get_by_text("Running")).to_be_visible()
    chosen = page.locator(f"#row-{project.trained}").get_by_role("checkbox")
    chosen.check()
    tell(server, project.ending, 202, status="cancelled")
    expect(row.get_by_text("Cancelled")).to_be_visible()
    expect(chosen).to_be_checked()


def test_a_lost_connection_is_said(open_page: OpenPage):
    """Until the server answers again, the page says of when it is."""
    watched = open_page("/ui/jobs")
    page = watched.page
    expect(page.locator("#offline")).to_be_hidden()
    page.context.set_offline(True)
    expect(page.get_by_text("The server does not answer")).to_be_visible(timeout=40_000)
    page.context.set_offline(False)
    expect(page.locator("#offline")).to_be_hidden(timeout=20_000)
    watched.complaints.clear()  # Chromium says of each request that the network is gone


def test_cancelling_asks_first(open_page: OpenPage, project: SampleProject):
    """In a dialogue that the keyboard can leave again."""
    page = open_page(f"/ui/jobs/{project.job}").page
    page.get_by_role("link", name="Cancel the job").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect(page.get_by_role("link", name="Cancel the job")).to_be_focused()


def _began_with(pattern: str):
    return re.compile(f"^{pattern}")


def test_jobs_are_chosen_in_the_list_and_laid_over_each_other(
    open_page: OpenPage, project: SampleProject
):
    """Each has a curve of its own in every chart."""
    page = open_page("/ui/jobs").page
    for job_id in (project.trained, project.running):
        page.locator(f"#row-{job_id}").get_by_role("checkbox").check()
    page.get_by_role("button", name="Lay over each other").click()
    expect(chart(page, "grad_norm").locator(".u-series")).to_have_count(3)
    expect(chart(page, "loss").locator(".u-series")).to_have_count(5)


def test_a_tab_that_nobody_sees_asks_nothing(open_page: OpenPage):
    """Its stream is closed when it is hidden, and opened again when it is looked at."""
    page = open_page("/ui/jobs").page
    expect(page.locator("#live")).to_be_visible()

    def turn(hidden: str) -> None:
        page.evaluate(
            f"Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }});"
            "document.dispatchEvent(new Event('visibilitychange'))"
        )

    def is_stream(asked) -> bool:
        return "/ui/events" in asked.url

    with page.expect_event("requestfailed", is_stream):
        turn("true")
    with page.expect_event("request", is_stream):
        turn("false")
