"""Projects, keys and limits, as an administrator's SDK sees them."""

from collections.abc import Callable, Iterator

import httpx
import pytest
from openai import AuthenticationError, BadRequestError, NotFoundError, OpenAI, RateLimitError

from tests.api_server import Server
from tests.polling import eventually

LINE = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
Ask = Callable[[str], OpenAI]


@pytest.fixture(scope="module")
def admin(server: Server) -> Iterator[OpenAI]:
    """OpenAI's SDK with an admin key, in strict mode: what does not fit its types raises."""
    with OpenAI(
        base_url=f"{server.url}/v1",
        api_key="unused",
        admin_api_key=server.admin_key,
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture(scope="module")
def raw(server: Server) -> Iterator[httpx.Client]:
    """A plain client with the admin key, for our extensions."""
    headers = {"authorization": f"Bearer {server.admin_key}"}
    with httpx.Client(base_url=f"{server.url}/v1/organization", headers=headers) as client:
        yield client


@pytest.fixture
def project(admin: OpenAI) -> str:
    """A project of the test's own."""
    return admin.admin.organization.projects.create(name="a team").id


@pytest.fixture
def asking(server: Server) -> Iterator[Ask]:
    """Make an SDK client for a project's key."""
    clients = []

    def client(key: str) -> OpenAI:
        clients.append(OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0))
        return clients[-1]

    yield client
    for made in clients:
        made.close()


def new_key(raw: httpx.Client, project: str, **asked: object) -> dict:
    answer = raw.post(f"/projects/{project}/api_keys", json={"name": "k"} | asked)
    assert answer.status_code == 200, answer.text
    return answer.json()


def stops_at_once(client: OpenAI) -> None:
    """Fail unless the client's key is refused within a second, and some patience for the machine."""

    def is_refused() -> bool:
        try:
            client.models.list()
        except AuthenticationError as exc:
            return exc.code == "invalid_api_key"
        return False

    eventually(is_refused, seconds=2)


def test_a_project_is_created_found_renamed_and_archived(admin: OpenAI) -> None:
    """Each answer is the project as it is then; an archived one is listed only where asked for."""
    projects = admin.admin.organization.projects
    made = projects.create(name="one")
    assert (made.object, made.status, made.archived_at) == ("organization.project", "active", None)
    assert projects.retrieve(made.id) == made
    assert projects.update(made.id, name="two").name == "two"
    assert made.id in [project.id for project in projects.list(limit=1)]
    assert projects.archive(made.id).status == "archived"
    again = projects.archive(made.id)
    assert again.archived_at
    assert made.id not in [project.id for project in projects.list()]
    assert made.id in [project.id for project in projects.list(include_archived=True)]
    with pytest.raises(BadRequestError, match="is archived"):
        projects.update(made.id, name="three")


def test_the_default_project_is_listed_and_stays(admin: OpenAI) -> None:
    """It cannot be archived: the first key belongs to it."""
    projects = admin.admin.organization.projects
    assert "proj_default" in [project.id for project in projects.list()]
    with pytest.raises(BadRequestError, match="cannot be archived"):
        projects.archive("proj_default")


def test_the_keys_of_an_archived_project_stop(
    admin: OpenAI, raw: httpx.Client, project: str, asking: Ask
) -> None:
    """Within a second, though none of them was revoked."""
    client = asking(new_key(raw, project)["value"])
    client.models.list()
    admin.admin.organization.projects.archive(project)
    stops_at_once(client)


def test_what_a_project_cannot_be_given_is_refused_in_words(admin: OpenAI) -> None:
    """Where its data lie is the operator's business."""
    with pytest.raises(BadRequestError, match="stays on the operator's own machines") as caught:
        admin.admin.organization.projects.create(name="x", residency="EU_STORAGE_PROCESSING")
    assert (caught.value.param, caught.value.code) == ("residency", "unsupported_parameter")


def test_a_key_is_made_listed_changed_and_deleted(
    admin: OpenAI, raw: httpx.Client, project: str, asking: Ask
) -> None:
    """Its value is shown once; what it may do changes within a second, and so does its end."""
    keys = admin.admin.organization.projects.api_keys
    made = new_key(raw, project, expires_in_seconds=3600)
    client = asking(made["value"])
    client.files.list()
    [listed] = keys.list(project)
    assert (listed.id, listed.redacted_value[-4:]) == (made["id"], made["value"][-4:])
    assert listed.expires_at == made["created_at"] + 3600
    assert made["value"] not in raw.get(f"/projects/{project}/api_keys").text
    changed = keys.update(made["id"], project_id=project, scopes=["api.model.read"])
    assert changed.expires_at == listed.expires_at
    assert keys.retrieve(made["id"], project_id=project) == changed
    assert keys.delete(made["id"], project_id=project).deleted
    stops_at_once(client)
    with pytest.raises(NotFoundError):
        keys.retrieve(made["id"], project_id=project)


@pytest.mark.parametrize("asked", [{}, {"scopes": None}, {"scopes": ["api.nothing.read"]}])
def test_a_change_of_a_key_must_say_what(raw: httpx.Client, project: str, asked: dict) -> None:
    """Nothing at all, null, and a scope that there is not are refused."""
    key = new_key(raw, project)
    answer = raw.post(f"/projects/{project}/api_keys/{key['id']}", json=asked)
    assert answer.status_code == 400


def test_a_rotated_key_keeps_its_id(raw: httpx.Client, project: str, asking: Ask) -> None:
    """The old secret works as long as it was given, or stops within a second."""
    made = new_key(raw, project)
    path = f"/projects/{project}/api_keys/{made['id']}/rotate"
    second = raw.post(path, json={"old_secret_expires_in_seconds": 3600}).json()
    assert (second["id"], second["value"] == made["value"]) == (made["id"], False)
    old, new = asking(made["value"]), asking(second["value"])
    old.models.list()
    new.models.list()
    raw.post(path, json={})
    stops_at_once(old)
    stops_at_once(new)


def test_a_service_account_has_keys_of_its_own(admin: OpenAI, project: str, asking: Ask) -> None:
    """They are listed with the project's, say whose they are, and go with the account."""
    accounts = admin.admin.organization.projects.service_accounts
    made = accounts.create(project, name="ci")
    assert made.role == "member"
    assert made.api_key
    assert made.api_key.value.startswith("sk-svcacct-")
    client = asking(made.api_key.value)
    client.models.list()
    more = accounts.api_keys.create(made.id, project_id=project, scopes=["api.files.read"])
    listed = admin.admin.organization.projects.api_keys.list(project)
    assert [key.id for key in listed] == [more.id, made.api_key.id]
    owner = next(iter(listed)).owner
    assert owner.service_account
    assert (owner.type, owner.service_account.id) == ("service_account", made.id)
    assert accounts.update(made.id, project_id=project, role="owner").role == "owner"
    assert [account.id for account in accounts.list(project)] == [made.id]
    assert accounts.retrieve(made.id, project_id=project).name == "ci"
    assert accounts.delete(made.id, project_id=project).deleted
    stops_at_once(client)
    assert not list(admin.admin.organization.projects.api_keys.list(project))


def test_a_service_account_may_begin_without_a_key(admin: OpenAI, project: str) -> None:
    """Then it has no role, and no end for a key that is not there."""
    accounts = admin.admin.organization.projects.service_accounts
    made = accounts.create(project, name="later", create_service_account_only=True)
    assert (made.role, made.api_key) == ("none", None)
    with pytest.raises(BadRequestError, match="leave it out"):
        accounts.create(project, name="x", create_service_account_only=True, expires_in_seconds=5)


def test_admin_keys_are_made_listed_and_deleted(server: Server, admin: OpenAI) -> None:
    """A new one works at once and stops within a second after its end."""
    keys = admin.admin.organization.admin_api_keys
    made = keys.create(name="second", expires_in_seconds=3600)
    assert made.value.startswith("sk-admin-")
    headers = {"authorization": f"Bearer {made.value}"}
    path = f"{server.url}/v1/organization/projects"
    assert httpx.get(path, headers=headers).status_code == 200
    assert keys.retrieve(made.id).redacted_value[-4:] == made.value[-4:]
    assert made.id in [key.id for key in keys.list(limit=1)]
    assert keys.delete(made.id).deleted
    eventually(lambda: httpx.get(path, headers=headers).status_code == 401, seconds=2)
    with pytest.raises(NotFoundError):
        keys.retrieve(made.id)


def test_an_admin_key_is_rotated(server: Server, raw: httpx.Client, admin: OpenAI) -> None:
    """As a project's is."""
    made = admin.admin.organization.admin_api_keys.create(name="third")
    rotated = raw.post(f"/admin_api_keys/{made.id}/rotate", json={}).json()
    headers = {"authorization": f"Bearer {rotated['value']}"}
    assert httpx.get(f"{server.url}/v1/organization/projects", headers=headers).status_code == 200


def test_rate_limits_are_stored_by_base(admin: OpenAI, project: str) -> None:
    """What was never limited shows OpenAI's largest number; what is set stays set."""
    limits = admin.admin.organization.projects.rate_limits
    listed = list(limits.list_rate_limits(project))
    assert {limit.id for limit in listed} >= {"rl-nano", "rl-meta/Nano-2"}
    assert {limit.max_requests_per_1_minute for limit in listed} == {2**31 - 1}
    changed = limits.update_rate_limit(
        "rl-meta/Nano-2", project_id=project, max_requests_per_1_minute=5
    )
    limits.update_rate_limit("rl-meta/Nano-2", project_id=project, max_requests_per_1_day=7)
    found = {limit.model: limit for limit in limits.list_rate_limits(project)}["meta/Nano-2"]
    assert changed.max_requests_per_1_minute == 5
    assert (found.max_requests_per_1_minute, found.max_requests_per_1_day) == (5, 7)
    assert found.max_tokens_per_1_minute == 2**31 - 1
    with pytest.raises(NotFoundError):
        limits.update_rate_limit("rl-none", project_id=project, max_requests_per_1_minute=5)


def test_rate_limits_are_paged_both_ways(admin: OpenAI, project: str) -> None:
    """`after` goes on, `before` goes back."""
    limits = admin.admin.organization.projects.rate_limits
    ids = [limit.id for limit in limits.list_rate_limits(project, limit=1)]
    assert len(ids) > 2
    back = limits.list_rate_limits(project, before=ids[-1], limit=1)
    assert [limit.id for limit in back.data] == [ids[-2]]
    with pytest.raises(BadRequestError):
        limits.list_rate_limits(project, after="rl-none")


def test_quotas_hold_where_something_is_created(
    raw: httpx.Client, project: str, asking: Ask
) -> None:
    """Bytes and jobs beyond them are refused in words, and not asked for again; null lifts them."""
    client = asking(new_key(raw, project)["value"])
    path = f"/projects/{project}/quotas"
    assert raw.get(path).json()["max_storage_bytes"] is None
    raw.post(path, json={"max_storage_bytes": len(LINE) * 12, "max_jobs_per_day": 1})
    file = client.files.create(file=LINE * 12, purpose="fine-tune")
    with pytest.raises(Exception, match="larger quota") as refused:
        client.files.create(file=LINE, purpose="fine-tune")
    assert (refused.value.status_code, refused.value.code) == (413, "storage_quota_exceeded")
    client.fine_tuning.jobs.create(model="nano", training_file=file.id)
    with pytest.raises(RateLimitError, match="1 fine-tuning requests per day") as caught:
        client.fine_tuning.jobs.create(model="nano", training_file=file.id)
    assert caught.value.code == "daily_rate_limit_exceeded"
    assert caught.value.type == "invalid_request_error"
    assert caught.value.response.headers["x-should-retry"] == "false"
    raw.post(path, json={"max_jobs_per_day": None})
    client.fine_tuning.jobs.create(model="nano", training_file=file.id)
    assert raw.get(path).json()["max_storage_bytes"] == len(LINE) * 12


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/projects/proj_none"),
        ("POST", "/projects/proj_none"),
        ("POST", "/projects/proj_none/archive"),
        ("GET", "/projects/proj_none/api_keys"),
        ("DELETE", "/projects/proj_default/api_keys/key_none"),
        ("GET", "/projects/proj_none/rate_limits"),
        ("GET", "/projects/proj_default/service_accounts/none"),
        ("GET", "/admin_api_keys/key_none"),
    ],
)
def test_what_is_not_there_is_404(raw: httpx.Client, method: str, path: str) -> None:
    """In OpenAI's envelope."""
    answer = raw.request(method, path, json={} if method == "POST" else None)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("path", "body", "fault"),
    [
        ("/projects", {}, ("name", "missing_required_parameter")),
        ("/projects", {"name": ""}, ("name", "string_below_min_length")),
        ("/projects", {"name": "x" * 257}, ("name", "string_above_max_length")),
        ("/projects", {"name": "x", "colour": 1}, ("colour", "unknown_parameter")),
        ("/projects/{}/api_keys", {"name": 1}, ("name", "invalid_type")),
        ("/projects/{}/api_keys", {"name": "x", "scopes": ["all"]}, ("scopes[0]", "invalid_value")),
        (
            "/projects/{}/api_keys",
            {"name": "x", "scopes": ["api.management.read"]},
            ("scopes[0]", "invalid_value"),
        ),
        (
            "/projects/{}/api_keys",
            {"name": "x", "expires_in_seconds": 0},
            ("expires_in_seconds", "integer_below_min_value"),
        ),
        (
            "/projects/{}/quotas",
            {"max_jobs_per_day": -1},
            ("max_jobs_per_day", "integer_below_min_value"),
        ),
        ("/projects/{}/quotas", {"max_storage_bytes": "1"}, ("max_storage_bytes", "invalid_type")),
        (
            "/projects/{}/rate_limits/rl-nano",
            {"max_images_per_1_minute": 1},
            ("max_images_per_1_minute", "unsupported_parameter"),
        ),
        ("/projects/{}/service_accounts", {"name": None}, ("name", "invalid_type")),
        ("/admin_api_keys", {"name": "x", "scopes": []}, ("scopes", "unknown_parameter")),
    ],
)
def test_bad_bodies_are_refused(
    raw: httpx.Client, project: str, path: str, body: dict, fault: tuple[str, str]
) -> None:
    """With the field at fault and OpenAI's code; no project's key can be given an admin's scope."""
    answer = raw.post(path.format(project), json=body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["param"], error["code"]) == fault


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=x", "after=nothing"])
@pytest.mark.parametrize("path", ["/projects", "/projects/proj_default/api_keys"])
def test_bad_queries_are_refused(raw: httpx.Client, path: str, query: str) -> None:
    """With the parameter at fault."""
    answer = raw.get(f"{path}?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"openai-organization": "org-other"}, "mismatched_organization"),
        ({"openai-project": "proj_other"}, "mismatched_project"),
        ({"openai-organization": "local", "openai-project": "proj_default"}, None),
        ({"openai-organization": "", "openai-project": ""}, None),
    ],
)
def test_a_request_that_names_another_project_than_its_key_is_refused(
    http: httpx.Client, headers: dict[str, str], code: str | None
) -> None:
    """In OpenAI's words: else somebody would believe to be where he is not."""
    answer = http.get("/v1/models", headers=headers)
    assert answer.status_code == (200 if code is None else 401)
    assert code is None or answer.json()["error"]["code"] == code
