"""Jobs over each other: which, and what tells them apart."""

import json
import re
from html import unescape

import httpx
import pytest

from api.dashboard.routes.compare import Compare
from schemas.fine_tuning import Hyperparameters
from tests.api_server import Server
from tests.dashboard.test_jobs import add


@pytest.fixture(scope="module")
def trained(server: Server) -> list[str]:
    return add(server, count=3, steps=30, statuses=["succeeded"], suffix="over")


def test_jobs_are_laid_over_each_other(reader: httpx.Client, trained: list[str]):
    """Each job is a source of the charts, under a name that tells attempts of the same suffix apart."""
    page = reader.get(f"/ui/compare?jobs={trained[0]},{trained[1]}&jobs={trained[2]}").text
    found = re.search(r'data-sources="([^"]*)"', page)
    assert found is not None
    sources = json.loads(unescape(found[1]))
    assert [source["id"] for source in sources] == trained
    assert sources[0]["label"] == f"over-0 · {trained[0][-6:]}"
    assert [source["url"] for source in sources] == [f"/ui/jobs/{id}/metrics" for id in trained]
    assert "Training loss" in page


def test_only_settings_that_differ_are_shown(server: Server, reader: httpx.Client):
    """What is the same for all jobs is left out; what one of them lacks is a dash."""
    ids = [
        server.add_job(status="queued", hyperparameters=numbers, metadata=metadata)
        for numbers, metadata in (
            (Hyperparameters(n_epochs=3, lora_rank=8), {"team": "<b>"}),
            (Hyperparameters(n_epochs=5), None),
        )
    ]
    page = reader.get(f"/ui/compare?jobs={','.join(ids)}").text
    names = re.findall(r'<th scope="row"><code>([^<]*)</code>', page)
    assert names == ["n_epochs", "lora_rank", "metadata.team"]
    assert "&lt;b&gt;" in page


def test_jobs_that_are_the_same_say_so(server: Server, reader: httpx.Client):
    """Where nothing differs, there is no empty table."""
    ids = [server.add_job(status="queued") for _ in range(2)]
    assert "Their settings are the same" in reader.get(f"/ui/compare?jobs={','.join(ids)}").text


def test_one_job_asks_for_another(reader: httpx.Client, trained: list[str]):
    """With fewer than two jobs the page offers the newest, and keeps what was chosen."""
    page = reader.get(f"/ui/compare?jobs={trained[2]}").text
    assert f'value="{trained[2]}" checked' in page
    assert f'value="{trained[1]}">' in page


def test_too_many_or_anothers_jobs_are_refused(reader: httpx.Client, trained: list[str]):
    """More than six are not told apart by colour; a job of another project is none."""
    many = ",".join(f"ftjob-{number}" for number in range(7))
    assert reader.get(f"/ui/compare?jobs={many}").status_code == 400
    assert reader.get(f"/ui/compare?jobs={trained[0]},ftjob-nowhere").status_code == 404


@pytest.mark.parametrize(
    ("asked", "ids"),
    [([], []), (["a,b", "b", " c ,"], ["a", "b", "c"]), ([",,"], [])],
)
def test_ids_come_by_commas_or_one_by_one(asked, ids):
    """As a link writes them, or as a form sends them; each counts once."""
    assert Compare(jobs=asked).ids == ids
