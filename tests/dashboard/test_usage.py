"""Usage as a page: sums by day, model and job, and who may know them."""

from itertools import pairwise

import httpx
from openai import OpenAI

from api.dashboard.bars import HEIGHT, WIDTH, draw
from api.dashboard.usage_view import Amount, by_day, by_job, by_model
from schemas.usage import UsageBucket, UsageResult
from tests.api_server import PROJECT, Server
from tests.polling import eventually

PATH = "/ui/usage"


def bucket(day: int, *results: UsageResult) -> UsageBucket:
    return UsageBucket(start_time=day, end_time=day + 86_400, results=list(results))


def used(model: str, *, job_id: str | None = None) -> UsageResult:
    return UsageResult(
        object="x",
        input_tokens=3,
        num_model_requests=1,
        model=model,
        job_id=job_id,
        output_tokens=2,
    )


def test_days_models_and_jobs_are_summed():
    """Days without usage are there; rows come newest first; a job's days are one sum."""
    buckets = [
        bucket(0, used("a", job_id="j")),
        bucket(86_400),
        bucket(172_800, used("a", job_id="j"), used("b", job_id="k")),
    ]
    assert by_day(buckets, buckets)[0] == Amount(2, 6, 0, 4)
    assert list(by_day(buckets)) == [0, 86_400, 172_800]
    assert [(row.day, row.model) for row in by_model(buckets)] == [
        (172_800, "a"),
        (172_800, "b"),
        (0, "a"),
    ]
    assert [(job.job_id, job.trained_tokens) for job in by_job(buckets)] == [("j", 6), ("k", 3)]


def test_bars_stay_in_their_box():
    """The highest day fills the box, what is small is still seen, and parts stand on each other."""
    bars = draw([(100, 100), (0, 0), (1, 0)])
    assert bars[0][1].y == 0
    assert bars[0][0].y == HEIGHT / 2
    assert [part.height for part in bars[1]] == [0, 0]
    assert bars[2][0].height > 1
    parts = [bar[0] for bar in bars]
    assert all(left.x + left.width < right.x for left, right in pairwise(parts))
    assert parts[-1].x + parts[-1].width < WIDTH
    assert draw([]) == []


def test_an_admin_sees_what_was_asked(server: Server, administrator: httpx.Client):
    """Requests and tokens stand by day and model, of all projects or of one."""
    client = OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)
    client.chat.completions.create(model="nano", messages=[{"role": "user", "content": "Hi"}])
    eventually(lambda: "<td>nano</td>" in administrator.get(PATH).text)
    page = administrator.get(PATH, params={"project": PROJECT, "days": "30"}).text
    assert "<td>nano</td>" in page
    assert "<rect" in page
    nothing = administrator.get(PATH, params={"project": "proj_none"}).text
    assert "Nothing was asked in these days" in nothing


def test_a_projects_key_sees_what_its_jobs_trained(server: Server, reader: httpx.Client):
    """As in the API, requests are for admin keys; the trained tokens of its jobs a project sees."""
    job_id = server.add_job(status="succeeded", trained_tokens=12_345)
    page = reader.get(PATH).text
    assert "retune keys create --admin" in page
    assert job_id in page
    assert "12,345" in page
    assert "<rect" not in page
