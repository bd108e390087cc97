"""Takes the pictures of the dashboard that the docs show: `python -m tests.browser.pictures` (minutes)."""

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.walk import Walk, demo_file, walk
from tests.e2e.server import KEY, running_server
from tests.servers import private_directory

DOCS = Path(__file__).parents[2] / "docs"
PATIENCE = 900
"""Seconds that the training may take on a busy machine."""


def main() -> None:
    """Tune the base by clicking, as the demo does in a terminal, and photograph what is to be seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", default="smollm2-135m", help="a base model (%(default)s)")
    parser.add_argument("--to", type=Path, default=DOCS, help="the folder (%(default)s)")
    options = parser.parse_args()
    with (
        private_directory("retune-pictures-") as directory,
        running_server(directory / "data", RETUNE_REPORT_EXAMPLES="40") as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        person = walk(chromium, server.url.removesuffix("/v1"), "en", seconds=PATIENCE)
        person.sign_in(KEY)
        tune(person, options.base)
        photograph(person, options.to)


def tune(person: Walk, base: str) -> None:
    """Make the demo's job, and wait for its report."""
    person.page.goto("/ui/jobs/new")
    person.drop_training_file(demo_file("train.jsonl", lines=200))
    person.choose_validation_file(demo_file("heldout.jsonl", lines=40))
    person.fill_in(base, suffix="bank-codes", seed=7)
    person.create()
    person.until_succeeded()
    person.soon(person.page.get_by_role("link", name=person.t("report.open"))).to_be_visible()


def photograph(person: Walk, folder: Path) -> None:
    """Save the page of the job, its report, and both models' answers to the first held-out example."""
    job_page = person.page.url
    person.page.reload()
    person.curve()
    save(person, folder / "dashboard-job.png", height=1000)
    person.page.goto(f"{job_page}/report")
    save(person, folder / "dashboard-report.png", height=900)
    person.page.goto(job_page)
    person.compare_with_base()
    person.button("playground.load").click()
    person.soon(person.page.locator("#reference")).to_be_visible()
    person.toggle_settings()
    person.ask_both()
    save(person, folder / "dashboard-playground.png", height=800)


def save(person: Walk, path: Path, *, height: int) -> None:
    """Save what a window of this height shows."""
    person.page.set_viewport_size({"width": 1200, "height": height})
    person.page.evaluate("scrollTo(0, 0)")
    person.page.screenshot(path=path, animations="disabled")
    print(f"{path}: {path.stat().st_size // 1000} KB")


if __name__ == "__main__":
    main()
