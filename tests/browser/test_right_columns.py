"""No column shows another's answer: a base, an adapter that does nothing and a strong one, in a real vLLM."""

import asyncio
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from jobs.bases.catalog import NANO_DIRECTORY
from tests.e2e.server import KEY, Server, running_server, wait_for
from tests.servers import private_directory

pytestmark = [pytest.mark.browser, pytest.mark.engine, pytest.mark.training]

BASE = "retune-nano"
QUESTION, LEARNED = "What colour is the sky?", "It is blue."
LOADED = 120
"""Seconds that an engine may take to start on a busy machine."""


@dataclass(frozen=True)
class Served:
    """A whole server with three models to ask, and what each says through the API."""

    url: str
    says: dict[str, str]
    noop: str = "ft:retune-nano:local:noop:aaaaaaaa"
    strong: str = "ft:retune-nano:local:strong:bbbbbbbb"


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One that learned an answer, and the same with all of its B matrices zero."""
    # Not before they are wanted: torch takes seconds.
    from tests.serving.adapters_made import (  # noqa: PLC0415
        chatml_row,
        scaled_copy,
        trained_adapter,
    )

    made = tmp_path_factory.mktemp("adapters")
    rows = [chatml_row(NANO_DIRECTORY, QUESTION, LEARNED)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's and PEFT's own
        strong = trained_adapter(NANO_DIRECTORY, made / "strong", rows, steps=24)
    return {"strong": strong, "noop": scaled_copy(strong, made / "noop", 0.0)}


@pytest.fixture(scope="module")
def served(adapters: dict[str, Path]) -> Iterator[Served]:
    """`retune serve` as it is, with both adapters published on the built-in base."""
    with (
        private_directory("retune-columns-") as directory,
        running_server(directory / "data") as server,
    ):
        # In a thread: in this one Playwright's event loop may run.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(asyncio.run, publish_all(server, adapters)).result()
        names = [BASE, Served.noop, Served.strong]
        yield Served(server.url.removesuffix("/v1"), {name: ask(server, name) for name in names})


async def publish_all(server: Server, adapters: dict[str, Path]) -> None:
    # Not before `pytest_configure` has chosen the SQLite.
    from jobs.blobs import Blobs  # noqa: PLC0415
    from jobs.store.store import open_store  # noqa: PLC0415
    from tests.api_server import publish  # noqa: PLC0415

    async with open_store(f"sqlite:///{server.data_dir / 'retune.db'}") as store:
        for name, adapter in ((Served.noop, "noop"), (Served.strong, "strong")):
            await Blobs(server.data_dir).keep_adapter(adapters[adapter], f"adapter-{adapter}")
            await publish(store, name, base=BASE, adapter_id=f"adapter-{adapter}")


def ask(server: Server, model: str) -> str:
    """What a model says greedily; the engine may still be starting."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "temperature": 0,
        "max_tokens": 16,
    }

    def answer() -> str | None:
        told = httpx.post(
            f"{server.url}/chat/completions",
            json=body,
            headers={"authorization": f"Bearer {KEY}"},
            timeout=60,
        )
        return told.json()["choices"][0]["message"]["content"] if told.is_success else None

    said: str = wait_for(answer, seconds=LOADED, what=f"an answer of {model}", log=server.log_path)
    return said


@contextmanager
def playground(browser: Browser, served: Served, *models: str) -> Iterator[Page]:
    context = browser.new_context(base_url=served.url, locale="en-GB")
    page = context.new_page()
    page.goto("/ui/sign-in")
    page.fill("#key", KEY)
    page.click("main button")
    greedy = [f"temperature_{n}=0&max_tokens_{n}=16" for n in range(1, len(models) + 1)]
    page.goto("/ui/playground?" + "&".join([*(f"model={name}" for name in models), *greedy]))
    yield page
    context.close()


def column(page: Page, place: int) -> Locator:
    return page.locator(".column").nth(place)


def test_the_models_can_be_told_apart(served: Served):
    """The adapter that does nothing says what the base says, the strong one what it learned: else nothing here proves anything."""
    assert served.says[served.strong] == LEARNED
    assert served.says[served.noop] == served.says[BASE]
    assert served.says[BASE] != LEARNED


def test_no_column_shows_anothers_answer(browser: Browser, served: Served):
    """In whatever order models stand, asked at once, each column names who answered and says what that model says."""
    for models in permutations(served.says):
        with playground(browser, served, *models) as page:
            page.fill("#prompt", QUESTION)
            page.keyboard.press("Control+Enter")
            for place, model in enumerate(models):
                expect(column(page, place).locator(".state")).to_have_text("Answered")
                expect(column(page, place).locator(".who")).to_have_text(model)
                said = column(page, place).locator(".said").text_content()
                assert said == served.says[model], models
            expect(page.locator(".mismatch:visible")).to_have_count(0)


def test_the_adapter_that_does_nothing_shows_no_difference(browser: Browser, served: Served):
    """Beside its base an adapter without effect has no word marked, and the strong one has."""
    with playground(browser, served, BASE, served.noop, served.strong) as page:
        page.fill("#prompt", QUESTION)
        page.keyboard.press("Control+Enter")
        expect(column(page, 2).locator("mark").first).to_be_visible()
        expect(column(page, 1).locator("mark")).to_have_count(0)


def test_a_model_that_is_deleted_is_not_answered_for(browser: Browser, served: Served):
    """A column whose model is gone fails by itself: neither its base nor a neighbour answers in its name."""
    with playground(browser, served, served.strong, "ft:retune-nano:local:gone:cccccccc") as page:
        page.fill("#prompt", QUESTION)
        page.keyboard.press("Control+Enter")
        expect(column(page, 0).locator(".said")).to_have_text(LEARNED)
        expect(column(page, 1).locator(".failure")).to_contain_text("does not exist")
        expect(column(page, 1).locator(".said")).to_have_text("")
        expect(column(page, 1).locator(".who")).to_have_text("No answer yet")
