"""Pages as people get them: in Debian's Chromium, where nothing may go wrong unseen."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from api.dashboard.messages import LANGUAGES
from jobs.bases.catalog import NANO_DIRECTORY
from tests.browser.sample_project import SampleProject, fill
from tests.browser.walk import LOCALES

THEMES = ("light", "dark")


@dataclass
class Watched:
    """A page, and what its browser complained of."""

    page: Page
    complaints: list[str] = field(default_factory=list)


OpenPage = Callable[..., Watched]


@pytest.fixture(scope="session")
def server(redis_server_url: str) -> Iterator:
    """One server for all these tests."""
    # Not before `pytest_configure` has chosen the SQLite.
    from tests.api_server import running_server  # noqa: PLC0415

    # With a real tokenizer: examples are shown as the model sees them.
    with running_server(redis_server_url, base_files=NANO_DIRECTORY) as server:
        yield server


@pytest.fixture(scope="session")
def project(server) -> SampleProject:
    """A project with one of each thing, some named to do harm."""
    return fill(server)


@pytest.fixture(scope="session")
def browser(project: SampleProject) -> Iterator[Browser]:
    """Chromium without a window; while Playwright's event loop runs, the project could not be filled."""
    chromium = shutil.which("chromium")
    assert chromium, "These tests want a browser: apt-get install chromium fonts-noto-cjk"
    with sync_playwright() as playwright:
        # Root has no sandbox in Chromium; the pages are our own.
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def open_page(server, browser: Browser) -> Iterator[OpenPage]:
    """Opens pages of a reader who is signed in, and fails where a browser complains or asks another host."""
    opened: list[Watched] = []

    def open_one(
        path: str,
        *,
        language: str = "en",
        theme: str = "light",
        width: int = 1200,
        signed_in: bool = True,
        is_admin: bool = False,
        scripts: bool = True,
    ) -> Watched:
        context = browser.new_context(
            base_url=server.url,
            locale=LOCALES[language],
            color_scheme=theme,
            viewport={"width": width, "height": 800},
            java_script_enabled=scripts,
        )
        watched = Watched(context.new_page())
        opened.append(watched)
        listen(watched, host=urlsplit(server.url).netloc)
        if signed_in:
            watched.page.goto("/ui/sign-in")
            watched.page.fill("#key", server.admin_key if is_admin else server.key)
            watched.page.click("main button")
        watched.page.goto(path)
        return watched

    yield open_one
    complaints = [complaint for watched in opened for complaint in watched.complaints]
    for watched in opened:
        watched.page.context.close()
    assert complaints == []


@pytest.fixture(params=product(LANGUAGES, THEMES), ids="-".join)
def look(request: pytest.FixtureRequest) -> dict[str, str]:
    """Each language in each theme."""
    language, theme = request.param
    return {"language": language, "theme": theme}


def listen(watched: Watched, *, host: str) -> None:
    """Note scripts that fail, what the CSP refuses (Chromium says so on its console), and foreign hosts."""
    page, complain = watched.page, watched.complaints.append
    page.on("pageerror", lambda error: complain(f"{page.url}: {error}"))
    page.on("dialog", lambda dialog: (complain(f"{page.url}: {dialog.message}"), dialog.dismiss()))
    page.on(
        "console",
        lambda said: complain(f"{page.url}: {said.text}") if said.type == "error" else None,
    )
    page.on(
        "request",
        lambda asked: (
            complain(f"asks {asked.url}") if urlsplit(asked.url).netloc not in {host, ""} else None
        ),
    )
