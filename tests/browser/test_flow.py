"""Fine-tuning by clicking, from the server's address to the report: the real server, trainer and engine."""

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Response

from api.dashboard.messages import LANGUAGES, Language
from tests.browser.conftest import Watched, listen
from tests.browser.walk import Walk, demo_file, walk
from tests.e2e.server import KEY, Server, running_server
from tests.servers import private_directory

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.training]

BASE = "retune-nano"
PATIENCE = 120
"""Seconds that a step may take: the engine starts, the trainer loads torch, on a busy machine."""


@pytest.fixture(scope="module")
def retune() -> Iterator[Server]:
    """`retune serve` as it is."""
    with (
        private_directory("retune-flow-") as directory,
        running_server(directory / "data", RETUNE_REPORT_EXAMPLES="12") as server,
    ):
        yield server


@pytest.fixture(params=LANGUAGES)
def person(request, browser: Browser, retune: Server) -> Iterator[Walk]:
    """Somebody with a browser and a key, whose browser may complain of nothing nor ask another host."""
    url = retune.url.removesuffix("/v1")
    language: Language = request.param
    walking = walk(browser, url, language, seconds=PATIENCE)
    watched = Watched(walking.page)
    listen(watched, host=urlsplit(url).netloc)
    yield walking
    walking.page.context.close()
    assert watched.complaints == []


@pytest.mark.timeout(600)
def test_a_model_is_tuned_and_compared_by_clicking(person: Walk):
    """Sign in, upload, estimate, create, watch, compare, read the report; in either language, and with no reload."""
    train = demo_file("train.jsonl", lines=40)
    person.sign_in(KEY)
    set_up(person, train)
    person.create()
    loads: list[str] = []
    person.page.on("load", lambda page: loads.append(page.url))
    watch(person)
    report = person.page.get_by_role("link", name=person.t("report.open"))
    person.soon(report).to_be_visible()
    assert loads == [], "nothing but the job's own events has changed its page"
    job_page = person.page.url
    compare(person, train)
    person.page.goto(job_page)
    report.click()
    read_report(person)


def set_up(person: Walk, train: str) -> None:
    """Fill in the form of a job, and ask what it would come to."""
    person.page.get_by_role("link", name=person.t("jobs.create"), exact=True).first.click()
    person.drop_training_file(train)
    person.choose_validation_file(demo_file("heldout.jsonl", lines=12))
    person.fill_in(BASE, suffix="Clicked", seed=11, n_epochs=20, batch_size=4)
    person.page.get_by_role("complementary").get_by_role(
        "button", name=person.t("create.estimate"), exact=True
    ).click()
    answer = person.page.locator("#answer")
    person.soon(answer).to_contain_text(person.t("estimate.would_train"))
    person.soon(answer).to_contain_text("200")  # steps: 40 examples, 4 at a time, 20 times


def watch(person: Walk) -> None:
    """See the curve come and grow while the job runs, and the job succeed."""
    first = person.curve()
    person.soon(person.status()).to_have_text(person.t("status.running"))
    person.soon(person.page.locator('[data-chart="loss"] .plot')).not_to_have_attribute(
        "aria-label", first
    )
    person.until_succeeded()
    person.soon(person.page.locator('[data-chart="loss"] .plot')).to_have_attribute(
        "aria-label", person.growing_to(step=200)
    )


def compare(person: Walk, train: str) -> None:
    """Ask both models what one of them has learned: each streams, says who it is, and they differ."""
    streamed: list[str] = []

    def note(response: Response) -> None:
        if response.url.endswith("/ui/playground/answers"):
            streamed.append(response.headers["content-type"].partition(";")[0])

    person.page.on("response", note)
    person.compare_with_base()
    tuned = person.page.locator("#model_1").input_value()
    assert tuned.startswith(f"ft:{BASE}:local:clicked:")
    examples = [[m["content"] for m in json.loads(line)["messages"]] for line in train.splitlines()]
    person.page.locator("#system").fill(examples[0][0])
    person.page.locator("#prompt").fill(examples[0][1])
    said = person.ask_both()
    assert streamed == ["text/event-stream"] * 2
    person.soon(person.column(1).locator(".who")).to_have_text(tuned)
    person.soon(person.column(2).locator(".who")).to_have_text(BASE)
    person.soon(person.page.locator(".mismatch:visible")).to_have_count(0)
    # Which code, the tiny model does not always know: its best state by validation may be an early one.
    codes = {answer for _, _, answer in examples}
    assert said[0] in codes
    assert said[1] not in codes


def read_report(person: Walk) -> None:
    """See all twelve examples compared."""
    person.soon(person.page.get_by_role("heading", level=1)).to_have_text(person.t("report.title"))
    person.soon(person.page.locator("dl.facts").first).to_contain_text(
        person.t("report.compared", n=12, all=12)
    )
    person.soon(person.page.locator(".compared").first).to_be_visible()
