"""The list of jobs: what it shows, how it is narrowed down, and how it stays up to date."""

import asyncio
import re

import httpx
import pytest

from api.dashboard.routes.jobs import ListJobs
from api.dashboard.sparkline import HEIGHT, WIDTH, draw
from jobs.store.store import open_store
from tests.api_server import PROJECT, Server
from tests.bench.dashboard import fill, seconds, signed_in
from tests.many_jobs import add_jobs
from tests.servers import running_redis


def add(server: Server, **asked) -> list[str]:
    async def added() -> list[str]:
        async with open_store(server.settings.effective_database_url) as store:
            return await add_jobs(store, project_id=PROJECT, **asked)

    return asyncio.run(added())


def rows(page: httpx.Response) -> list[str]:
    assert page.status_code == 200
    return re.findall(r'<tr id="row-(ftjob-\w+)"', page.text)


def count(page: httpx.Response, tab: str) -> int:
    found = re.search(rf'{tab} <span class="count">([\d,]+)</span>', page.text)
    assert found is not None
    return int(found[1].replace(",", ""))


@pytest.fixture(scope="module")
def jobs(server: Server) -> list[str]:
    return add(server, count=120, steps=20, suffix="listed")


def test_the_list_has_pages(reader: httpx.Client, jobs: list[str]):
    """Pages follow each other without a gap, the newest job first, and keep what was searched for."""
    seen, path = [], "/ui/jobs?search=listed"
    while path:
        page = reader.get(path)
        seen += rows(page)
        found = re.search(r'href="(/ui/jobs\?[^"]*after=[^"]*)"', page.text)
        path = found[1].replace("&amp;", "&") if found else ""
    assert seen == jobs[::-1]


def test_tabs_count_and_narrow_down(reader: httpx.Client, jobs: list[str]):
    """Each tab says how many jobs of the search it has, and lists these."""
    page = reader.get("/ui/jobs?search=listed&tab=failed")
    assert rows(page) == jobs[2::5][::-1]
    counts = {
        tab: count(page, tab) for tab in ("All", "Running", "Succeeded", "Failed", "Cancelled")
    }
    assert counts == {"All": 120, "Running": 48, "Succeeded": 24, "Failed": 24, "Cancelled": 24}


def test_the_list_is_narrowed_down_to_a_base(reader: httpx.Client, jobs: list[str]):
    """By the base that a job trains; one that is offered no more can still be chosen."""
    assert rows(reader.get("/ui/jobs?base=nano&search=listed-7"))
    page = reader.get("/ui/jobs?base=gone")
    assert rows(page) == []
    assert "No job matches" in page.text
    assert '<option value="gone" selected>' in page.text


def test_a_row_shows_how_the_loss_fell(reader: httpx.Client, jobs: list[str]):
    """As a drawing that says its ends in words; a job that has not begun has none."""
    page = reader.get("/ui/jobs?search=listed-0").text
    assert re.search(r'role="img" aria-label="Training loss from 2\.\d+ to 0\.\d+"', page)
    assert (
        "<polyline"
        not in reader.get("/ui/jobs?search=listed-3&tab=running")
        .text.split(f"row-{jobs[3]}")[1]
        .split("</tr>")[0]
    )


def test_what_is_no_tab_is_refused(reader: httpx.Client):
    """A query that no link of ours has is answered by a page that says so."""
    assert reader.get("/ui/jobs?tab=nothing").status_code == 400
    assert reader.get("/ui/jobs?after=ftjob-nowhere").status_code == 400


def test_the_first_visit_says_what_to_do(redis_server_url: str):
    """Without a job the page names the three steps, and the same for a program."""
    from tests.api_server import running_server  # noqa: PLC0415

    with running_server(redis_server_url) as server, signed_in(server) as client:
        page = client.get("/ui/jobs").text
    assert page.count("<li>") == 3
    assert f"curl {server.url}/v1/fine_tuning/jobs" in page


def test_links_keep_the_search():
    """What somebody typed is in the query string as text."""
    asked = ListJobs(search='a&b="c"', tab="failed", after="ftjob-1")
    assert asked.with_(tab="") == "search=a%26b%3D%22c%22"
    assert asked.with_() == "tab=failed&search=a%26b%3D%22c%22"


def test_a_page_is_told_of_a_change(server: Server, reader: httpx.Client, jobs: list[str]):
    """The stream is silent while nothing changes, and tells a new job; proxies let it through."""
    shown = re.search(r'data-live="([^"]+)"', reader.get("/ui/jobs").text)
    assert shown is not None
    with reader.stream("GET", shown[1]) as answer:
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        told = [line for line in (next(lines) for _ in range(3)) if line.startswith("event")]
        assert told == ["event: beat"]
        add(server, count=1, steps=0, suffix="new")
        assert next(line for line in lines if line.startswith("event")) == "event: changed"


def test_a_page_that_missed_a_change_is_told_at_once(reader: httpx.Client, jobs: list[str]):
    """A browser that comes back with an old token hears of what happened between."""
    old = {"last-event-id": "0123456789abcdef"}
    with reader.stream("GET", "/ui/events", headers=old) as answer:
        told = (line for line in answer.iter_lines() if line.startswith("event"))
        assert [next(told), next(told)] == ["event: beat", "event: changed"]


def test_a_drawing_stays_in_its_box():
    """Every point lies within it, whatever the numbers are; a single point is no line."""
    assert draw([]) is None
    assert draw([(1, 2.0)]) is None
    for values in ([1.0, 1.0], [5.0, -3.0, 9.0], [0.0, 1e30]):
        drawn = draw(list(enumerate(values, start=1)))
        assert drawn is not None
        places = [tuple(map(float, point.split(","))) for point in drawn.points.split()]
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in places)


@pytest.mark.slow
def test_a_thousand_jobs_are_listed_at_once():
    """The list of 1,000 jobs is there within 300 ms, drawings and counts included."""
    from tests.api_server import running_server  # noqa: PLC0415

    with running_redis() as redis_url, running_server(redis_url) as server:
        url = server.settings.effective_database_url
        asyncio.run(fill(url, jobs=1000, steps=60, long=20_000))
        with signed_in(server) as client:
            assert min(seconds(client, "/ui/jobs", 5)) < 0.3
