"""The journey without training, asked by OpenAI's own SDK."""

import openai
import pytest
from openai import OpenAI

from tests.api_server import Server

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
TRAINING = LINE * 12
HELLO = [{"role": "user", "content": "hello"}]
ANSWER = "Hello, wörld 🙂"


@pytest.fixture
def training_file(client: OpenAI) -> str:
    """The id of a file to train on."""
    return client.files.create(file=TRAINING, purpose="fine-tune").id


def test_file(client: OpenAI) -> None:
    """A file comes back as it was sent, is listed, and is gone when deleted."""
    file = client.files.create(file=("Grüße.jsonl", TRAINING), purpose="fine-tune")
    assert (file.filename, file.bytes, file.status) == ("Grüße.jsonl", len(TRAINING), "processed")
    assert client.files.retrieve(file.id) == file
    assert file.id in [listed.id for listed in client.files.list(purpose="fine-tune")]
    assert client.files.content(file.id).read() == TRAINING
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError, match=f"No such File object: {file.id}") as raised:
        client.files.retrieve(file.id)
    assert raised.value.param == "id"


def test_file_that_expires(client: OpenAI) -> None:
    """A file lives for the seconds that its upload asked for."""
    expiry = {"anchor": "created_at", "seconds": 3600}
    file = client.files.create(file=LINE, purpose="user_data", expires_after=expiry)
    assert file.expires_at == file.created_at + 3600


def test_files_are_paged(client: OpenAI) -> None:
    """The SDK's iterator walks all pages, in either order, each file once."""
    made = [client.files.create(file=LINE, purpose="evals").id for _ in range(5)]
    newest_first = [file.id for file in client.files.list(purpose="evals", limit=2)]
    oldest_first = [file.id for file in client.files.list(purpose="evals", limit=2, order="asc")]
    assert newest_first == made[::-1]
    assert oldest_first == made


def test_job(client: OpenAI, training_file: str) -> None:
    """A job is created with everything "auto", told in an event, and cancelled once."""
    job = client.fine_tuning.jobs.create(
        model="gpt-4o-mini",
        training_file=training_file,
        hyperparameters={"n_epochs": "auto", "batch_size": 2},
        suffix="My Suffix",
        seed=7,
        metadata={"team": "a b&c"},
    )
    assert (job.model, job.status, job.seed) == ("nano", "validating_files", 7)
    assert job.hyperparameters.batch_size == 2
    assert job.method.supervised.hyperparameters.n_epochs == "auto"
    assert client.fine_tuning.jobs.retrieve(job.id) == job
    events = client.fine_tuning.jobs.list_events(job.id, limit=1).data
    assert events[0].message == f"Created fine-tuning job: {job.id}"
    assert client.fine_tuning.jobs.checkpoints.list(job.id).data == []
    assert client.fine_tuning.jobs.cancel(job.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="with status 'cancelled'"):
        client.fine_tuning.jobs.cancel(job.id)


def test_jobs_by_metadata(client: OpenAI, training_file: str) -> None:
    """`metadata[key]=value` finds the jobs that have it."""
    jobs = client.fine_tuning.jobs
    with_it = jobs.create(
        model="nano", training_file=training_file, metadata={"x y": "1&2", "z": "3"}
    )
    jobs.create(model="nano", training_file=training_file, metadata={"x y": "other"})
    assert [job.id for job in jobs.list(metadata={"x y": "1&2"})] == [with_it.id]


def test_models(client: OpenAI, server: Server) -> None:
    """Bases and aliases are listed, a tuned model first; it is gone when deleted."""
    name = server.add_tuned_model()
    assert next(iter(client.models.list())).id == name
    assert {"nano", "meta/Nano-2", "gpt-4o-mini"} < {model.id for model in client.models.list()}
    assert client.models.retrieve(name).owned_by == "local"
    assert client.models.retrieve("nano").shutdown_date is None
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError, match="does not exist") as raised:
        client.models.retrieve(name)
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")


def test_model_with_a_slash_in_its_name(client: OpenAI, server: Server) -> None:
    """SDKs send `/` as `%2F` and leave `:`; the name arrives whole."""
    name = server.add_tuned_model(base="meta/Nano-2", suffix="s")
    assert client.models.retrieve("meta/Nano-2").id == "meta/Nano-2"
    assert client.models.retrieve(name).id == name
    assert client.models.delete(name).id == name


def test_chat(client: OpenAI) -> None:
    """A whole answer bears our id, the public name and OpenAI's fields, and none of the engine's."""
    answer = client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert answer.choices[0].message.content == ANSWER
    assert (answer.model, answer.object) == ("nano", "chat.completion")
    assert answer.id.startswith("chatcmpl-")
    assert answer.id != "chatcmpl-internal"
    assert answer.usage.total_tokens == 11
    assert not {"prompt_logprobs", "kv_transfer_params"} & answer.model_extra.keys()


def test_chat_with_a_tuned_model(client: OpenAI, server: Server) -> None:
    """A tuned model answers under its own name; the engine knows it by an opaque one."""
    name = server.add_tuned_model()
    answer = client.chat.completions.create(model=name, messages=HELLO)
    assert answer.model == name
    assert server.engine.requests[-1]["model"].startswith("adapter-")


def test_chat_after_the_engine_lost_its_adapters(client: OpenAI, server: Server) -> None:
    """An engine that restarted gets the adapter back; the request waits and succeeds."""
    name = server.add_tuned_model()
    client.chat.completions.create(model=name, messages=HELLO)
    server.engine.adapters.clear()
    assert client.chat.completions.create(model=name, messages=HELLO).model == name


def test_streamed_chat(client: OpenAI) -> None:
    """A stream brings the same words in pieces, under one id and the public name."""
    stream = client.chat.completions.create(model="nano", messages=HELLO, stream=True)
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.model for chunk in chunks} == {"nano"}
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_streamed_chat_with_usage(client: OpenAI) -> None:
    """Usage comes when asked for, at the end and without a choice."""
    stream = client.chat.completions.create(
        model="nano", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    *others, last = stream
    assert (last.choices, last.usage.total_tokens) == ([], 11)
    assert {chunk.usage for chunk in others} == {None}


def test_streamed_chat_that_breaks(client: OpenAI) -> None:
    """When the engine dies in the middle of an answer, the SDK raises; it does not end in silence."""
    messages = [{"role": "user", "content": "break"}]
    stream = client.chat.completions.create(model="nano", messages=messages, stream=True)
    with pytest.raises(openai.APIError, match="did not answer"):
        list(stream)


def test_sdk_stream_helper(client: OpenAI) -> None:
    """The SDK's accumulating helper reads our events."""
    with client.chat.completions.stream(model="nano", messages=HELLO) as stream:
        assert stream.get_final_completion().choices[0].message.content == ANSWER


def test_several_greedy_answers(client: OpenAI, server: Server) -> None:
    """`n` answers at temperature 0 are given, as at OpenAI, though vLLM itself refuses."""
    answer = client.chat.completions.create(model="nano", messages=HELLO, n=3, temperature=0)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert server.engine.requests[-1]["top_k"] == 1


def test_only_what_we_wrote_reaches_the_engine(client: OpenAI, server: Server) -> None:
    """Of the request only checked fields go on, with our names and a salt of the project's."""
    client.chat.completions.create(
        model="nano",
        messages=[{"role": "developer", "content": "be kind"}, *HELLO],
        max_completion_tokens=5,
        user="me",
        metadata={"a": "b"},
        store=False,
        service_tier="auto",
        safety_identifier="s",
        prompt_cache_key="k",
    )
    asked = server.engine.requests[-1]
    assert asked.keys() == {"model", "messages", "max_completion_tokens", "cache_salt"}
    assert asked["messages"][0] == {"role": "developer", "content": "be kind"}
    assert len(asked["cache_salt"]) == 64


def test_without_v1(server: Server) -> None:
    """A `base_url` without `/v1` works too."""
    with OpenAI(base_url=server.url, api_key=server.key) as client:
        assert client.models.retrieve("nano").id == "nano"


def test_wrong_key(server: Server) -> None:
    """A wrong key is told so, masked."""
    with (
        OpenAI(base_url=f"{server.url}/v1", api_key="sk-wrong-key-0123456789") as client,
        pytest.raises(
            openai.AuthenticationError, match="Incorrect API key provided: sk-wr"
        ) as raised,
    ):
        client.models.list()
    assert raised.value.code == "invalid_api_key"
    assert "wrong-key" not in raised.value.message
