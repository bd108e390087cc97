"""Models as a page: what each is made of, whether it is at hand, and how one goes."""

import re

import httpx
import pytest
from openai import NotFoundError, OpenAI

from tests.api_server import Server

PATH = "/ui/models"


@pytest.fixture
def csrf(reader: httpx.Client) -> str:
    found = re.search(r'name="csrf-token" content="([0-9a-f]{64})"', reader.get(PATH).text)
    assert found is not None
    return found[1]


@pytest.fixture
def client(server: Server) -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=server.key, max_retries=0)


def details(server: Server, name: str) -> dict:
    answer = httpx.get(
        f"{server.url}/v1/models",
        params={"with_details": "true"},
        headers={"authorization": f"Bearer {server.key}"},
    )
    return next(each["details"] for each in answer.json()["data"] if each["id"] == name)


def test_a_tuned_model_is_told_with_its_base_and_job(server: Server, reader, client):
    """A row has the model's base, its job, and the ways to ask it; the API says the same."""
    name = server.add_tuned_model(suffix="bank")
    told = details(server, name)
    assert (told["base"], told["engine"], told["is_loaded"]) == ("nano", "ready", False)
    page = reader.get(PATH, params={"search": name[-6:].upper()}).text
    assert f"/ui/jobs/{told['job']}" in page
    assert "/ui/playground?model=nano&amp;model=ft%3Anano%3Alocal%3Abank" in page
    assert "Loaded when asked" in page


def test_what_an_engine_holds_is_in_memory(server: Server, reader, client):
    """A model that was asked is told as loaded, because its engine says so."""
    name = server.add_tuned_model(suffix="asked")
    client.chat.completions.create(model=name, messages=[{"role": "user", "content": "Hi"}])
    assert details(server, name)["is_loaded"]
    assert "In memory" in reader.get(PATH, params={"search": name}).text


def test_an_engine_that_does_not_start_says_why(server: Server, reader):
    """A base shows the reason that its engine gave."""
    server.fail_engine("lost", "no <room> for it")
    page = reader.get(PATH).text
    assert "Does not start" in page
    assert "no &lt;room&gt; for it" in page


def test_details_are_only_for_who_asks(client: OpenAI):
    """OpenAI's list is as it was: no field more."""
    assert all("details" not in model.model_dump() for model in client.models.list())


def test_a_model_is_deleted_after_a_question(server: Server, reader, client, csrf):
    """Its page asks first; then the name answers no more."""
    name = server.add_tuned_model(suffix="old")
    asked = reader.get(f"{PATH}/delete", params={"model": name}).text
    assert f"Delete the model {name}?" in asked
    assert client.models.retrieve(name)
    answer = reader.post(f"{PATH}/delete", data={"csrf_token": csrf, "model": name})
    assert answer.headers["location"] == PATH
    with pytest.raises(NotFoundError):
        client.models.retrieve(name)
    assert reader.get(f"{PATH}/delete", params={"model": name}).status_code == 404


def test_a_base_stays(reader: httpx.Client, csrf):
    """A base cannot be deleted, whatever a form says."""
    answer = reader.post(f"{PATH}/delete", data={"csrf_token": csrf, "model": "nano"})
    assert answer.status_code == 403


def test_sharing_is_told(server: Server, reader):
    """A model says how many other projects may ask it."""
    name = server.add_tuned_model(suffix="lent")
    bearer = {"authorization": f"Bearer {server.admin_key}"}
    made = httpx.post(
        f"{server.url}/v1/organization/projects", json={"name": "guest"}, headers=bearer
    )
    httpx.post(
        f"{server.url}/v1/fine_tuning/checkpoints/{name}/permissions",
        json={"project_ids": [made.json()["id"]]},
        headers=bearer,
    ).raise_for_status()
    assert details(server, name)["n_shared"] == 1
    assert "1 project(s)" in reader.get(PATH, params={"search": name}).text
