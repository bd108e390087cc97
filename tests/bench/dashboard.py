"""What the dashboard's heaviest pages cost: `python -m tests.bench.dashboard`.

The list of 1,000 jobs, its searches, and the curves of a job of 20,000 steps; over HTTP, on SQLite. Where there
is a Chromium: how soon it paints the list, and how long it takes to draw those curves anew.
"""

import asyncio
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from api.cli.main import use_fixed_sqlite

if __name__ == "__main__":
    use_fixed_sqlite()  # before anything loads another

import httpx
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from jobs.store.store import open_store
from tests.api_server import PROJECT, Server, running_server
from tests.many_jobs import add_jobs
from tests.servers import running_redis

JOBS, STEPS, LONG = 1000, 60, 20_000
RUNS = 9
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


async def fill(url: str, *, jobs: int, steps: int, long: int) -> str:
    """Return the id of the long job, which is the newest."""
    async with open_store(url) as store:
        await add_jobs(store, count=jobs - 1, steps=steps, project_id=PROJECT)
        (long_job,) = await add_jobs(
            store, count=1, steps=long, project_id=PROJECT, statuses=["running"]
        )
    return long_job


@contextmanager
def signed_in(server: Server) -> Iterator[httpx.Client]:
    headers = {"sec-fetch-site": "same-origin"}
    with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
        client.post("/ui/sign-in", data={"key": server.key})
        yield client


def seconds(client: httpx.Client, path: str, runs: int) -> list[float]:
    """Return how long a page took, each time, until its last byte was there."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        answer = client.get(path)
        taken.append(time.perf_counter() - began)
        assert answer.status_code == 200, answer.text
    return taken


def in_a_browser(server: Server, long_job: str) -> None:
    """Measure what a reader waits for."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("no Chromium here: nothing measured in a browser")
        return
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        first = [painted(browser, server) for _ in range(RUNS)]
        page = signed_in_page(browser, server)
        warm = [paint(page) for _ in range(RUNS)]
        print(f"first paint of the list, nothing kept {statistics.median(first):5.0f} ms")
        print(f"first paint of the list, files kept   {statistics.median(warm):5.0f} ms")
        page.goto(f"/ui/jobs/{long_job}")
        page.locator('[data-chart="loss"] canvas').wait_for()
        page.evaluate(BUSY)
        drawn = [page.evaluate(REDRAWN, 0.5 + 0.04 * run) for run in range(RUNS)]
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


def main() -> None:
    with running_redis() as redis_url, running_server(redis_url) as server:
        url = server.settings.effective_database_url
        long_job = asyncio.run(fill(url, jobs=JOBS, steps=STEPS, long=LONG))
        with signed_in(server) as client:
            for path in (
                "/ui/jobs",
                "/ui/jobs?tab=succeeded",
                "/ui/jobs?search=many-99",
                f"/ui/jobs/{long_job}",
                f"/ui/jobs/{long_job}/metrics",
            ):
                first, *rest = seconds(client, path, RUNS)
                middle = statistics.median(rest)
                shown = path.replace(long_job, "LONG")
                print(f"{shown:28} first {1000 * first:5.0f} ms, then {1000 * middle:5.0f} ms")
            curves = client.get(f"/ui/jobs/{long_job}/metrics")
            n_points = sum(len(each["steps"]) for each in curves.json()["curves"].values())
            sent = int(curves.headers.get("content-length", len(curves.content)))
            print(f"curves of {LONG} steps: {n_points} points, {sent / 1000:.0f} KB")
        in_a_browser(server, long_job)


if __name__ == "__main__":
    main()
