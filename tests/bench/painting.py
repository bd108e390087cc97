"""What the dashboard's pages cost in Chromium: how soon a list is painted, how long curves take to be drawn anew."""

import shutil
import statistics

from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from tests.api_server import Server

PAINTED = """() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime ?? null"""
REDRAWN = """async (weight) => {
  const form = document.querySelector(".chart-settings");
  const began = performance.now();
  form.smooth.value = weight;
  form.smooth.dispatchEvent(new Event("input", { bubbles: true }));
  await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
  return performance.now() - began;
}"""
"""All charts, each with a smoothed line beside the noisy one."""
PICTURE = """() => document.querySelector('[data-chart="loss"] canvas').toDataURL()"""
BUSY = """() => {
  window.busy = [];
  new PerformanceObserver((seen) => window.busy.push(...seen.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask" });
}"""
"""Notes what keeps a page from answering for more than 50 ms."""


def measure(server: Server, long_job: str, *, runs: int) -> None:
    """Print what a reader waits for.

    Args:
        server: With the jobs of `tests.bench.dashboard`.
        long_job: The id of the one with many steps.
        runs: Of which the median is taken.
    """
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        first = [painted(browser, server) for _ in range(runs)]
        page = signed_in_page(browser, server)
        warm = [paint(page) for _ in range(runs)]
        print(f"first paint of the list, nothing kept {statistics.median(first):5.0f} ms")
        print(f"first paint of the list, files kept   {statistics.median(warm):5.0f} ms")
        page.goto(f"/ui/jobs/{long_job}")
        page.locator('[data-chart="loss"] canvas').wait_for()
        page.evaluate(BUSY)
        drawn = [page.evaluate(REDRAWN, 0.5 + 0.04 * run) for run in range(runs)]
        print(f"all charts smoothed and drawn anew    {statistics.median(drawn):5.0f} ms")
        print(f"longest pause while zooming           {longest_pause(page):5.0f} ms")
        browser.close()


def signed_in_page(browser: Browser, server: Server) -> Page:
    page = browser.new_context(base_url=server.url, locale="en-GB").new_page()
    page.goto("/ui/sign-in")
    page.fill("#key", server.key)
    page.click("main button")
    page.wait_for_url("**/ui/jobs")
    return page


def painted(browser: Browser, server: Server) -> float:
    """Return after how many ms a browser that has kept nothing paints the list for who is signed in."""
    known = signed_in_page(browser, server).context
    fresh = browser.new_context(
        base_url=server.url, locale="en-GB", storage_state=known.storage_state()
    )
    taken = paint(fresh.new_page())
    known.close()
    fresh.close()
    return taken


def paint(page: Page) -> float:
    page.goto("/ui/jobs")
    while (found := page.evaluate(PAINTED)) is None:
        page.wait_for_timeout(5)
    return float(found)


def longest_pause(page: Page) -> float:
    """Draw a window over the chart of the loss, and back out; return the longest that nothing else was done."""
    box = page.locator('[data-chart="loss"] .u-over').bounding_box()
    assert box is not None
    whole = page.evaluate(PICTURE)
    zoom(page, box, 0.5)
    page.wait_for_timeout(100)
    assert page.evaluate(PICTURE) != whole, "the chart shows the window that was drawn"
    page.evaluate("window.busy.length = 0")
    for share in (0.2, 0.5, 0.8):
        page.mouse.dblclick(box["x"] + 40, box["y"] + 40)
        zoom(page, box, share)
    page.wait_for_timeout(300)
    return max(page.evaluate("window.busy"), default=0.0)


def zoom(page: Page, box: FloatRect, share: float) -> None:
    """Draw a window from a tenth of the chart's width to `share`."""
    page.mouse.move(box["x"] + 0.1 * box["width"], box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + share * box["width"], box["y"] + 60, steps=20)
    page.mouse.up()
