"""Azure's clients of OpenAI's SDK: their header, their prefix, and models in the path."""

from collections.abc import Iterator

import httpx
import pytest
from openai import AsyncAzureOpenAI, AzureOpenAI

from tests.api_server import Server

HELLO = [{"role": "user", "content": "hello"}]
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


@pytest.fixture
def azure(server: Server) -> Iterator[AzureOpenAI]:
    """The synchronous one."""
    with AzureOpenAI(
        azure_endpoint=server.url, api_key=server.key, api_version="2025-04-01-preview"
    ) as client:
        yield client


def test_asking(azure: AzureOpenAI, server: Server) -> None:
    """Chat, text and vectors are asked for at a deployment, which is a model, slashes and all."""
    chat = azure.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert (chat.model, chat.choices[0].message.content) == ("nano", "Hello, wörld 🙂")
    name = server.add_tuned_model(base="meta/Nano-2")
    stream = azure.chat.completions.create(model=name, messages=HELLO, stream=True)
    assert {chunk.model for chunk in stream} == {name}
    assert azure.completions.create(model=name, prompt="On").model == name
    assert azure.embeddings.create(model="vectors", input="a").data[0].embedding == [0.0, 0.5]


def test_a_client_of_one_deployment(server: Server) -> None:
    """Where the client names the deployment once, the path decides, whatever the body says."""
    with AzureOpenAI(
        azure_endpoint=server.url,
        azure_deployment="meta/Nano-2",
        api_key=server.key,
        api_version="2025-04-01-preview",
    ) as client:
        assert client.chat.completions.create(model="x", messages=HELLO).model == "meta/Nano-2"
        assert client.models.retrieve("nano").id == "nano"


def test_tuning(azure: AzureOpenAI) -> None:
    """Files, jobs and models are found under `/openai`."""
    file = azure.files.create(file=LINE * 12, purpose="fine-tune")
    job = azure.fine_tuning.jobs.create(model="nano", training_file=file.id)
    assert azure.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    assert azure.models.retrieve("meta/Nano-2").id == "meta/Nano-2"


async def test_asynchronous_client(server: Server) -> None:
    """The asynchronous client asks alike, also with a token in place of a key."""
    async with AsyncAzureOpenAI(
        azure_endpoint=server.url, azure_ad_token=server.key, api_version="2025-04-01-preview"
    ) as client:
        answer = await client.chat.completions.create(model="nano", messages=HELLO)
        assert answer.model == "nano"


def test_v1_under_the_prefix(server: Server) -> None:
    """The plain path under `/openai/v1`, which Azure has as well, takes Azure's header."""
    with httpx.Client(base_url=server.url, headers={"api-key": server.key}) as http:
        assert http.get("/openai/v1/models/nano?api-version=preview").json()["id"] == "nano"
        asked = {"messages": HELLO}
        there = "/openai/deployments/nano/chat/completions?api-version=1"
        assert http.post(there, json=asked).json()["model"] == "nano"


@pytest.mark.parametrize("path", ["nano/audio/speech", "nano", "/chat/completions"])
def test_other_operations(http: httpx.Client, path: str) -> None:
    """What no deployment does here is an unknown URL."""
    response = http.post(f"/openai/deployments/{path}", json={})
    assert response.status_code == 404
    assert "Invalid URL" in response.json()["error"]["message"]
