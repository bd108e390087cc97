"""OpenAI's own SDK, strict: it raises where an answer is not of the type that it documents; for each of its methods."""

import inspect
import re
import time
from collections.abc import Iterator
from functools import cache, cached_property

import httpx
import pytest
from openai import APIResponseValidationError, DefaultHttpxClient, OpenAI
from openai._resource import SyncAPIResource

from tests.api.tenants import all_routes
from tests.batches import CHAT, jsonl, line
from tests.receiver import running_receiver

HELLO = [{"role": "user", "content": "hello"}]
LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
STRING_CHECK = {
    "type": "string_check", "name": "c", "input": "a", "reference": "a", "operation": "eq",
}  # fmt: skip
NEVER = {
    ("POST", "/responses/{}/cancel"): "Only what was made in the background can be cancelled.",
}
"""What no request here is answered with success."""

Asked = set[tuple[str, str]]
_REQUEST = re.compile(
    r'self\._(get|post|delete|get_api_list)\(\s*(?:path_template\(\s*)?f?"([^"]+)"(.*)', re.DOTALL
)


def form_of(path: str) -> str:
    """A path with nothing in its braces."""
    return re.sub(r"\{.*?\}", "{}", path.removeprefix("/v1"))


def sdk_methods(resource: object, name: str = "") -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each method of the SDK that sends a request, and which one: `POST /files/{}`."""
    for member in dir(type(resource)):
        found = inspect.getattr_static(type(resource), member)
        if member.startswith(("_", "with_")):
            continue
        if isinstance(found, cached_property):
            inner = getattr(resource, member)
            if isinstance(inner, SyncAPIResource):
                yield from sdk_methods(inner, f"{name}{member}.")
        elif inspect.isfunction(found) and (sent := _REQUEST.search(inspect.getsource(found))):
            verb = "post" if 'method="post"' in sent[3] else sent[1]
            method = "GET" if verb.startswith("get") else verb.upper()
            yield name + member, (method, form_of(sent[2]))


@cache
def methods_served() -> dict[str, tuple[str, str]]:
    """The SDK's methods that ask what we serve. Reading their sources takes seconds."""
    served = {(route.method, form_of(route.path)) for route in all_routes()}
    return {
        name: sent
        for name, sent in sdk_methods(OpenAI(api_key="x"))
        if sent in served and not name.startswith("beta.")
    }


@pytest.fixture(scope="module")
def server(own_server):
    """What other modules made is not looked at here."""
    return own_server


@pytest.fixture(scope="module")
def asked() -> Asked:
    """What has been answered with success."""
    return set()


@pytest.fixture(scope="module")
def strict(server, asked: Asked) -> Iterator[OpenAI]:
    """The SDK, with a key of each kind."""

    def remember(response: httpx.Response) -> None:
        path = response.request.url.path.removeprefix("/v1")
        if response.is_success:
            asked.add((response.request.method, path))

    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key=server.key,
        admin_api_key=server.admin_key,
        max_retries=0,
        http_client=DefaultHttpxClient(event_hooks={"response": [remember]}),
        _strict_response_validation=True,
    ) as client:
        yield client


def new_file(strict: OpenAI, content: bytes = LINE * 12, purpose: str = "fine-tune") -> str:
    return strict.files.create(file=("a.jsonl", content), purpose=purpose).id


def test_files(strict: OpenAI) -> None:
    """A file from its upload to its end."""
    file_id = new_file(strict)
    # Not of every purpose: the SDK's own model has forgotten `evals` (schema_deviations.toml).
    assert strict.files.retrieve(file_id) in strict.files.list(purpose="fine-tune").data
    assert strict.files.content(file_id).content == LINE * 12
    assert strict.files.delete(file_id).deleted


def test_uploads(strict: OpenAI) -> None:
    """An upload that is completed and one that is cancelled."""
    asked = {"bytes": 3, "filename": "a", "purpose": "fine-tune", "mime_type": "text/jsonl"}
    upload, other = (strict.uploads.create(**asked) for _ in range(2))
    part = strict.uploads.parts.create(upload.id, data=b"abc")
    assert strict.uploads.complete(upload.id, part_ids=[part.id]).file
    assert strict.uploads.cancel(other.id).status == "cancelled"


def test_jobs(strict: OpenAI) -> None:
    """A job, asked to pause, to go on and to end."""
    jobs = strict.fine_tuning.jobs
    job = jobs.create(model="nano", training_file=new_file(strict))
    assert jobs.list().data[0].id == jobs.retrieve(job.id).id == job.id
    assert jobs.list_events(job.id).data
    assert not jobs.checkpoints.list(job.id).data
    jobs.pause(job.id)
    jobs.resume(job.id)
    assert jobs.cancel(job.id).status == "cancelled"


def test_graders(strict: OpenAI) -> None:
    """A grader, looked at and tried."""
    graders = strict.fine_tuning.alpha.graders
    assert graders.validate(grader=STRING_CHECK).grader
    assert graders.run(grader=STRING_CHECK, model_sample="a").reward == 1


def test_models(server, strict: OpenAI) -> None:
    """Models, and who may ask a tuned one."""
    name = server.add_tuned_model()
    assert strict.models.retrieve(name) in strict.models.list().data
    permissions = strict.fine_tuning.checkpoints.permissions
    (made,) = permissions.create(name, project_ids=["proj_default"]).data
    assert permissions.list(name).data[0].id == made.id
    with pytest.deprecated_call():
        assert permissions.retrieve(name).data[0].id == made.id
    assert permissions.delete(made.id, fine_tuned_model_checkpoint=name).deleted
    assert strict.models.delete(name).deleted


def test_chats(strict: OpenAI) -> None:
    """A kept answer, and one in pieces."""
    chats = strict.chat.completions
    assert list(chats.create(model="nano", messages=HELLO, stream=True))
    made = chats.create(model="nano", messages=HELLO, store=True)
    assert chats.update(made.id, metadata={"a": "b"}).id == chats.retrieve(made.id).id
    assert chats.list().data
    # The model of a kept message knows the role of an answer only (schema_deviations.toml).
    with pytest.raises(APIResponseValidationError):
        chats.messages.list(made.id)
    assert chats.delete(made.id).deleted


def test_texts_and_vectors(strict: OpenAI) -> None:
    """Completions, whole and in pieces, and embeddings."""
    assert strict.completions.create(model="nano", prompt="a").choices
    # The model is of a whole answer, and each piece but the last has no reason to end.
    with pytest.raises(APIResponseValidationError):
        list(strict.completions.create(model="nano", prompt="a", stream=True))
    vectors = strict.embeddings.create(model="vectors", input="a", encoding_format="float")
    assert vectors.data[0].embedding


def test_responses(strict: OpenAI) -> None:
    """A response, whole and in pieces, and what it was asked."""
    responses = strict.responses
    assert list(responses.create(model="nano", input="hello", stream=True))
    made = responses.create(model="nano", input="hello")
    assert responses.retrieve(made.id).id == made.id
    assert responses.input_items.list(made.id).data
    assert responses.input_tokens.count(model="nano", input="hello").input_tokens
    assert responses.compact(model="nano", input="hello").output
    responses.delete(made.id)


def test_batches(strict: OpenAI) -> None:
    """A batch that is cancelled."""
    file_id = new_file(strict, jsonl([line("a")]), "batch")
    made = strict.batches.create(input_file_id=file_id, endpoint=CHAT, completion_window="24h")
    assert strict.batches.retrieve(made.id).id == strict.batches.list().data[0].id
    assert strict.batches.cancel(made.id).id == made.id


def test_webhooks(strict: OpenAI) -> None:
    """An endpoint and its secret."""
    webhooks = strict.webhooks
    types = webhooks.event_types.list().data
    with running_receiver() as receiver:
        made = webhooks.create(name="x", url=receiver.url, event_types=types)
        assert webhooks.test(made.id, event_type=types[0])
    assert webhooks.update(made.id, name="y") == webhooks.retrieve(made.id)
    assert webhooks.rotate_secret(made.id).signing_secret
    assert webhooks.list().data
    assert webhooks.delete(made.id).deleted


def test_projects(strict: OpenAI) -> None:
    """A project, its limits, and its end."""
    projects = strict.admin.organization.projects
    project = projects.create(name="strict")
    projects.update(project.id, name="stricter")
    assert projects.retrieve(project.id).name == "stricter"
    assert projects.list(limit=100).data
    limit = projects.rate_limits.list_rate_limits(project.id).data[0]
    projects.rate_limits.update_rate_limit(
        limit.id, project_id=project.id, max_requests_per_1_minute=7
    )
    assert projects.archive(project.id).status == "archived"


def test_keys(strict: OpenAI) -> None:
    """Keys of the organization, of a project and of a machine's account."""
    organization = strict.admin.organization
    key = organization.admin_api_keys.create(name="strict")
    assert organization.admin_api_keys.retrieve(key.id).id == key.id
    assert organization.admin_api_keys.list().data
    assert organization.admin_api_keys.delete(key.id).deleted
    project = organization.projects.create(name="keys").id
    accounts = organization.projects.service_accounts
    account = accounts.create(project, name="robot").id
    accounts.api_keys.create(account, project_id=project, name="second")
    accounts.update(account, project_id=project, name="android")
    assert accounts.retrieve(account, project_id=project).name == "android"
    assert accounts.list(project).data
    keys = organization.projects.api_keys
    found = keys.list(project).data[0].id
    assert keys.retrieve(found, project_id=project).id == found
    keys.update(found, project_id=project, scopes=["model.request"])
    keys.delete(found, project_id=project)
    assert accounts.delete(account, project_id=project).deleted


def test_usage(strict: OpenAI) -> None:
    """What was used since a while."""
    usage = strict.admin.organization.usage
    begin = int(time.time()) - 3600
    assert usage.completions(start_time=begin, bucket_width="1h").data
    assert usage.embeddings(start_time=begin, bucket_width="1h").data


def test_every_method_was_asked(asked: Asked, request: pytest.FixtureRequest) -> None:
    """All that the SDK can ask of what we serve has been asked above."""
    methods = methods_served()
    assert len(methods) > 70
    tests = re.findall(r"^def test_", request.path.read_text(), re.MULTILINE)
    here = [item for item in request.session.items if item.path == request.path]
    missing = {
        name: sent
        for name, sent in methods.items()
        if not any(is_like(sent, one) for one in asked) and sent not in NEVER
    }
    assert len(here) < len(tests) or not missing, missing


def is_like(sent: tuple[str, str], one: tuple[str, str]) -> bool:
    """Whether a request is of a form such as `POST /files/{}`."""
    form = re.escape(sent[1]).replace(r"\{\}", "[^/]+")
    return sent[0] == one[0] and re.fullmatch(form, one[1]) is not None
