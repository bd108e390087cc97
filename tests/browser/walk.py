"""The way of somebody who fine-tunes by clicking: each step as a reader of either language takes it."""

import re
from dataclasses import dataclass
from importlib.resources import files

from playwright.sync_api import Browser, FilePayload, Locator, Page, expect

from api.dashboard.messages import Language, Messages

LOCALES = {"en": "en-GB", "zh": "zh-CN"}
DROP = """([zone, {name, text}]) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([text], name));
  zone.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
}"""


def demo_file(name: str, *, lines: int) -> str:
    """The first lines of one of the demo's files."""
    text = (files("api.demo") / name).read_text()
    return "".join(text.splitlines(keepends=True)[:lines])


@dataclass
class Walk:
    """A page, and the words that its reader looks for.

    Args:
        seconds: How long each step may take.
    """

    page: Page
    language: Language
    seconds: float = 60

    def __post_init__(self) -> None:
        self.t = Messages(self.language)
        self.page.set_default_timeout(self.seconds * 1000)

    def button(self, key: str) -> Locator:
        """The visible button with a message of the catalogue on it."""
        return self.page.get_by_role("button", name=self.t(key), exact=True)

    def soon(self, locator: Locator):
        """`expect` with this walk's patience."""
        expect.set_options(timeout=self.seconds * 1000)
        return expect(locator)

    def sign_in(self, key: str) -> None:
        """Open the server's address, and give the key where the page asks for it."""
        self.page.goto("/")
        self.page.get_by_label(self.t("sign_in.key")).fill(key)
        self.button("sign_in.button").click()
        self.soon(self.page.get_by_role("heading", level=1)).to_have_text(self.t("jobs.title"))

    def drop_training_file(self, text: str) -> None:
        """Drop a file on its zone, as from the desktop; it goes up at once and becomes the choice."""
        zone = self.page.locator('[data-upload-into="training_file"]').element_handle()
        self.page.evaluate(DROP, [zone, {"name": "train.jsonl", "text": text}])
        self.soon(self.page.locator("#training_file option:checked")).to_have_text("train.jsonl")

    def choose_validation_file(self, text: str) -> None:
        """Choose a file to validate with in the browser's own dialogue."""
        self.page.get_by_label(self.t("create.validation.file")).check()
        chosen = FilePayload(
            name="heldout.jsonl", mimeType="application/jsonl", buffer=text.encode()
        )
        self.page.locator("#validation_upload").set_input_files(chosen)
        self.soon(self.page.locator("#validation_file option:checked")).to_have_text(
            "heldout.jsonl"
        )

    def fill_in(self, base: str, *, suffix: str, **numbers: int) -> None:
        """Choose the base, name the model, and give some of the numbers."""
        self.page.get_by_label(self.t("create.model"), exact=True).select_option(base)
        self.page.get_by_label(self.t("create.suffix"), exact=True).fill(suffix)
        for name, value in numbers.items():
            self.page.locator(f"#{name}").fill(str(value))

    def create(self) -> None:
        """Press Create, which leads to the job."""
        self.page.get_by_role("complementary").get_by_role(
            "button", name=self.t("create.button"), exact=True
        ).click()
        self.soon(self.page).to_have_url(re.compile("/ui/jobs/ftjob-"))
        self.page.wait_for_load_state()

    def status(self) -> Locator:
        """Of the job, as its page says it."""
        return self.page.locator(".heading .status")

    def curve(self) -> str:
        """What the chart of the loss says it shows, once it shows something."""
        chart = self.page.locator('[data-chart="loss"]')
        self.soon(chart.locator("canvas")).to_be_visible()
        return chart.get_by_role("img").get_attribute("aria-label") or ""

    def growing_to(self, *, step: int) -> re.Pattern[str]:
        """What the chart says once its curve has come to a step."""
        said = self.t(
            "chart.summary",
            name="N",
            first="F",
            at_first="1",
            last="L",
            at_last=step,
            lowest="W",
            at_lowest="X",
        )
        return re.compile(re.sub("[NFLWX]", ".+", re.escape(said)))

    def until_succeeded(self) -> None:
        """Wait in front of the open page."""
        self.soon(self.status()).to_have_text(self.t("status.succeeded"))

    def compare_with_base(self) -> None:
        """Go to the playground with both models chosen, answers short and greedy."""
        self.page.get_by_role("link", name=self.t("job.compare_with_base")).click()
        self.soon(self.page.locator(".column:visible")).to_have_count(2)
        self.toggle_settings()
        for n in (1, 2):
            self.page.locator(f"#temperature_{n}").fill("0")
            self.page.locator(f"#max_tokens_{n}").fill("24")
        self.toggle_settings()

    def toggle_settings(self) -> None:
        """Open the settings of both columns, or close them."""
        for n in (1, 2):
            self.column(n).locator(".settings summary").click()

    def column(self, n: int) -> Locator:
        """A column of the playground, from 1."""
        return self.page.locator(".column").nth(n - 1)

    def ask_both(self) -> list[str]:
        """Run, and return what both have said."""
        self.button("playground.run").click()
        for n in (1, 2):
            self.soon(self.column(n).locator(".state")).to_have_text(self.t("playground.done"))
        return [self.column(n).locator(".said").inner_text() for n in (1, 2)]


def walk(browser: Browser, url: str, language: Language, *, seconds: float = 60) -> Walk:
    """Open a window 1200 pixels wide, in which the walk begins."""
    context = browser.new_context(
        base_url=url,
        locale=LOCALES[language],
        color_scheme="light",
        viewport={"width": 1200, "height": 800},
    )
    return Walk(context.new_page(), language, seconds)
