"""A tuned model that another project may ask, for as long as its own project lets it."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.api_server import Server

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def other(server: Server) -> Iterator[tuple[str, OpenAI]]:
    """Another project, and its SDK."""
    headers = {"authorization": f"Bearer {server.admin_key}"}
    base = f"{server.url}/v1/organization/projects"
    project = httpx.post(base, json={"name": "other"}, headers=headers).json()["id"]
    made = httpx.post(f"{base}/{project}/api_keys", json={"name": "k"}, headers=headers)
    key = made.json()["value"]
    with OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        yield project, client


@pytest.fixture(scope="module", params=["project key", "admin key"])
def owner(request: pytest.FixtureRequest, server: Server) -> Iterator[OpenAI]:
    """Who may share the model: its own project, or an administrator; in strict mode."""
    key = server.key if request.param == "project key" else server.admin_key
    with OpenAI(
        base_url=f"{server.url}/v1", api_key=key, max_retries=0, _strict_response_validation=True
    ) as client:
        yield client


@pytest.fixture(params=["nano", "meta/Nano-2"])
def model(request: pytest.FixtureRequest, server: Server) -> str:
    """A tuned model of the first project; the name of one has a slash."""
    return server.add_tuned_model(base=request.param)


def ask(client: OpenAI, model: str) -> str | None:
    return client.chat.completions.create(model=model, messages=HELLO).model


def test_a_permission_lets_another_project_ask_until_it_is_taken_back(
    owner: OpenAI, other: tuple[str, OpenAI], model: str
) -> None:
    """Both at once: the next request counts."""
    project, guest = other
    permissions = owner.fine_tuning.checkpoints.permissions
    with pytest.raises(NotFoundError):
        ask(guest, model)
    [granted] = permissions.create(model, project_ids=[project])
    assert (granted.object, granted.project_id) == ("checkpoint.permission", project)
    assert ask(guest, model) == model
    assert guest.models.retrieve(model).id == model
    deleted = permissions.delete(granted.id, fine_tuned_model_checkpoint=model)
    assert (deleted.id, deleted.deleted) == (granted.id, True)
    for attempt in (lambda: ask(guest, model), lambda: guest.models.retrieve(model)):
        with pytest.raises(NotFoundError):
            attempt()
    with pytest.raises(NotFoundError):
        permissions.delete(granted.id, fine_tuned_model_checkpoint=model)


def test_a_permission_is_to_ask_and_nothing_else(
    client: OpenAI, other: tuple[str, OpenAI], model: str
) -> None:
    """The guest cannot list, delete, train further, share, or see who else is let in."""
    project, guest = other
    client.fine_tuning.checkpoints.permissions.create(model, project_ids=[project])
    line = (
        b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    file = guest.files.create(file=line * 12, purpose="fine-tune")
    permissions = guest.fine_tuning.checkpoints.permissions
    assert model not in [found.id for found in guest.models.list()]
    refused: list[Callable[[], object]] = [
        lambda: guest.models.delete(model),
        lambda: permissions.create(model, project_ids=[project]),
        lambda: permissions.list(model),
    ]
    for attempt in refused:
        with pytest.raises(NotFoundError):
            attempt()
    with pytest.raises(BadRequestError):
        guest.fine_tuning.jobs.create(model=model, training_file=file.id)
    assert ask(guest, model) == model


def test_permissions_are_listed_in_both_orders(owner: OpenAI, server: Server, model: str) -> None:
    """Newest first unless asked otherwise, page by page, of one project or of all."""
    headers = {"authorization": f"Bearer {server.admin_key}"}
    base = f"{server.url}/v1/organization/projects"
    projects = [
        httpx.post(base, json={"name": name}, headers=headers).json()["id"] for name in "abc"
    ]
    permissions = owner.fine_tuning.checkpoints.permissions
    granted = permissions.create(model, project_ids=projects)
    assert [one.project_id for one in granted] == projects
    ids = [one.id for one in granted]
    assert [one.id for one in permissions.list(model, limit=2)] == ids[::-1]
    assert [one.id for one in permissions.list(model, limit=1, order="ascending")] == ids
    assert [one.id for one in permissions.list(model, project_id=projects[1])] == [ids[1]]
    with pytest.warns(DeprecationWarning, match="list"):
        page = permissions.retrieve(model)
    assert (page.first_id, page.last_id, page.has_more) == (ids[2], ids[0], False)


def test_granting_again_changes_nothing(owner: OpenAI, model: str) -> None:
    """The permission is the one that there was."""
    permissions = owner.fine_tuning.checkpoints.permissions
    first = permissions.create(model, project_ids=["proj_default"])
    again = permissions.create(model, project_ids=["proj_default", "proj_default"])
    assert first.data == again.data


def test_an_unknown_project_gives_nobody_anything(owner: OpenAI, model: str) -> None:
    """The field at fault is named, and the others of the list were not let in either."""
    permissions = owner.fine_tuning.checkpoints.permissions
    with pytest.raises(BadRequestError) as caught:
        permissions.create(model, project_ids=["proj_default", "proj_none"])
    assert (caught.value.param, caught.value.code) == ("project_ids[1]", "project_not_found")
    assert list(permissions.list(model)) == []


@pytest.mark.parametrize("name", ["nano", "ft:nano:local::none", "no-such-model"])
def test_only_a_tuned_model_is_shared(owner: OpenAI, name: str) -> None:
    """A base is everybody's; what is not there is nobody's."""
    with pytest.raises(NotFoundError) as caught:
        owner.fine_tuning.checkpoints.permissions.create(name, project_ids=["proj_default"])
    assert caught.value.code == "model_not_found"


def test_a_page_after_another_models_permission_is_refused(client: OpenAI, server: Server) -> None:
    """A cursor belongs to its list."""
    one, two = server.add_tuned_model(), server.add_tuned_model()
    permissions = client.fine_tuning.checkpoints.permissions
    [granted] = permissions.create(one, project_ids=["proj_default"])
    with pytest.raises(BadRequestError) as caught:
        permissions.list(two, after=granted.id)
    assert caught.value.param == "after"
