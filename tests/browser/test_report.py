"""The report of a job in a browser: it comes by itself, and leads to the playground."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import expect

from schemas.report import JobReport
from tests.browser.conftest import OpenPage
from tests.browser.sample_project import SampleProject
from tests.sample_reports import add_report, labelled, report

pytestmark = pytest.mark.browser


def test_a_report_comes_to_who_waits_for_it(open_page: OpenPage, server):
    """The page of a report that is being made shows the report once it is there, and nobody has to reload."""
    with ThreadPoolExecutor(1) as thread:  # in this one Playwright's event loop runs
        job = thread.submit(add_report, server, report(labelled()), file_id="file-1").result()
        done = thread.submit(asyncio.run, change(server, job, JobReport(status="running"))).result()
        page = open_page(f"/ui/jobs/{job}/report").page
        expect(page.get_by_role("heading", level=2)).to_have_text("The report is being made")
        thread.submit(asyncio.run, change(server, job, done)).result()
        expect(page.locator(".headline")).to_contain_text("is better than its base")
        expect(page.locator(".compared").first).to_be_visible()


async def change(server, job_id: str, to: JobReport) -> JobReport:
    """Let a job's report be another; return what it was."""
    # Not before `pytest_configure` has chosen the SQLite.
    from jobs.store.jobs import Outcome  # noqa: PLC0415
    from jobs.store.store import open_store  # noqa: PLC0415

    before: list[JobReport] = []

    def changed(record):
        before.append(record.job.report)
        return Outcome(
            record=record.model_copy(update={"job": record.job.model_copy(update={"report": to})})
        )

    async with open_store(server.settings.effective_database_url) as store:
        await store.jobs.change(job_id, changed)
    return before[-1]


def test_an_example_is_asked_again(open_page: OpenPage, project: SampleProject):
    """From an example of the report both models are asked its question, beside its reference."""
    page = open_page(f"/ui/jobs/{project.reported}/report").page
    page.get_by_role("button", name="Ask both about example 2 in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Playground")
    expect(page.locator("#prompt")).not_to_have_value("")
    expect(page.locator("#reference")).not_to_have_text("")
    expect(page.locator(".column:visible")).to_have_count(2)
    assert page.url.endswith("/ui/playground")
