"""`/v1/webhook_endpoints` and `/v1/webhook_event_types`, asked by OpenAI's SDK."""

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from tests.receiver import running_receiver

URL = "https://hooks.example/retune"
TYPES = ["fine_tuning.job.succeeded", "batch.completed"]


@pytest.fixture
def strict(server):
    """The SDK, which raises where an answer is not what its types say."""
    url = f"{server.url}/v1"
    with OpenAI(base_url=url, api_key=server.key, _strict_response_validation=True) as client:
        yield client


@pytest.fixture
def made(strict):
    """An endpoint, deleted after the test."""
    endpoint = strict.webhooks.create(name="mine", url=URL, event_types=TYPES)
    yield endpoint
    strict.webhooks.delete(endpoint.id)


@pytest.fixture
def receiver():
    with running_receiver() as running:
        yield running


def test_the_secret_is_shown_once(strict, http, made):
    """In the answer to create; afterwards only its hint, wherever the endpoint is shown."""
    assert made.id.startswith("whe_")
    assert made.signing_secret.startswith("whsec_")
    assert made.signing_secret_hint == f"whsec_********{made.signing_secret[-4:]}"
    shown = strict.webhooks.retrieve(made.id)
    assert shown.model_dump() == made.model_dump(exclude={"signing_secret"})
    assert shown in list(strict.webhooks.list())
    for path in ("/v1/webhook_endpoints", f"/v1/webhook_endpoints/{made.id}"):
        assert made.signing_secret not in http.get(path).text


def test_only_what_is_named_changes(strict, made):
    """One field after the other; what changes nothing does not count as a change."""
    named = strict.webhooks.update(made.id, name="yours")
    assert (named.name, named.url, named.event_types) == ("yours", URL, TYPES)
    moved = strict.webhooks.update(made.id, url="https://other.example/")
    assert (moved.name, moved.url) == ("yours", "https://other.example/")
    fewer = strict.webhooks.update(made.id, event_types=["batch.failed", "batch.failed"])
    assert fewer.event_types == ["batch.failed"]
    assert strict.webhooks.update(made.id) == fewer
    assert strict.webhooks.retrieve(made.id) == fewer


def test_a_new_secret_takes_the_place_of_the_old(strict, made):
    """It is shown this once, and the hint is the new one's."""
    rotated = strict.webhooks.rotate_secret(made.id, keep_old_secret_active_for_24_hours=True)
    assert rotated.signing_secret != made.signing_secret
    shown = strict.webhooks.retrieve(made.id)
    assert shown.signing_secret_hint[-4:] == rotated.signing_secret[-4:]
    assert strict.webhooks.rotate_secret(made.id).signing_secret != rotated.signing_secret


def test_endpoints_are_listed_newest_first(strict):
    """Page by page, each once."""
    made = [strict.webhooks.create(name=f"{n}", url=URL, event_types=TYPES) for n in range(5)]
    listed = [endpoint.id for endpoint in strict.webhooks.list(limit=2)]
    # Other tests' may be there as well, all of them older.
    assert listed[:5] == [endpoint.id for endpoint in reversed(made)]
    assert len(set(listed)) == len(listed)
    for endpoint in made:
        gone = strict.webhooks.delete(endpoint.id)
        assert (gone.id, gone.deleted) == (endpoint.id, True)
    left = {endpoint.id for endpoint in strict.webhooks.list()}
    assert left.isdisjoint({endpoint.id for endpoint in made})


def test_the_types_that_can_be_heard(strict):
    """Jobs' and batches' ends."""
    types = strict.webhooks.event_types.list().data
    assert len(types) == 7
    assert set(TYPES) < set(types)


@pytest.mark.parametrize("status", [200, 500])
def test_a_test_says_what_the_endpoint_answered(strict, receiver, status):
    """Whatever it was; what it got is an event that the SDK takes."""
    receiver.status = status
    made = strict.webhooks.create(name="x", url=receiver.url, event_types=TYPES)
    tested = strict.webhooks.test(made.id, event_type="batch.completed")
    assert tested.model_dump() == {
        "object": "webhook_endpoint.test",
        "event_type": "batch.completed",
        "status_code": status,
        "success": True,
        "webhook_endpoint_id": made.id,
    }
    [sent] = receiver.received
    event = strict.webhooks.unwrap(sent.body, sent.headers, secret=made.signing_secret)
    assert event.type == "batch.completed"
    strict.webhooks.delete(made.id)


def test_a_test_that_nobody_answers_fails(client):
    """With words that say why; the SDK does not try again by itself."""
    made = client.webhooks.create(name="x", url="http://127.0.0.1:1024/", event_types=TYPES)
    with pytest.raises(BadRequestError, match="could not be connected to") as caught:
        client.webhooks.test(made.id, event_type="batch.failed")
    assert (caught.value.param, caught.value.code) == ("url", "webhook_test_failed")
    client.webhooks.delete(made.id)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("", None),
        ("", {"name": "x"}),
        ("/rotate_secret", {}),
        ("/test", {"event_type": "batch.failed"}),
    ],
)
def test_an_endpoint_that_is_not_there_is_not_found(http, path, body):
    """Whatever is asked of it."""
    url = f"/v1/webhook_endpoints/whe_none{path}"
    answer = http.get(url) if body is None else http.post(url, json=body)
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "No such webhook endpoint: whe_none",
        "type": "invalid_request_error",
        "param": "webhook_endpoint_id",
        "code": None,
    }


def test_deleting_what_is_not_there_is_not_found(client, made):
    """Twice is once too often."""
    other = client.webhooks.create(name="x", url=URL, event_types=TYPES)
    client.webhooks.delete(other.id)
    with pytest.raises(NotFoundError):
        client.webhooks.delete(other.id)
    assert client.webhooks.retrieve(made.id).id == made.id


GOOD = {"name": "x", "url": URL, "event_types": TYPES}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"url": "ftp://hooks.example/"}, "url", "invalid_url"),
        ({"url": "https://"}, "url", "invalid_url"),
        ({"url": "https://10.0.0.1/"}, "url", "invalid_url"),
        ({"url": "https://hooks.example/\n"}, "url", "invalid_url"),
        ({"url": "https://" + "a" * 2048}, "url", "string_above_max_length"),
        ({"url": 5}, "url", "invalid_type"),
        ({"name": ""}, "name", "string_below_min_length"),
        ({"name": "x" * 257}, "name", "string_above_max_length"),
        ({"event_types": []}, "event_types", "empty_array"),
        ({"event_types": ["batch.failed"] * 65}, "event_types", "array_above_max_length"),
        ({"event_types": ["response.completed"]}, "event_types[0]", "invalid_value"),
        ({"secret": "mine"}, "secret", "unknown_parameter"),
    ],
)
def test_what_cannot_be_is_refused(http, change, param, code):
    """At create and at update alike, with the field at fault."""
    made = http.post("/v1/webhook_endpoints", json=GOOD).json()
    for url, body in (
        ("/v1/webhook_endpoints", GOOD | change),
        (f"/v1/webhook_endpoints/{made['id']}", change),
    ):
        answer = http.post(url, json=body)
        assert answer.status_code == 400, answer.text
        assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    http.delete(f"/v1/webhook_endpoints/{made['id']}")


def test_an_unknown_type_is_refused_with_those_there_are(http):
    """In OpenAI's words."""
    answer = http.post("/v1/webhook_endpoints", json=GOOD | {"event_types": ["job.done"]})
    message = answer.json()["error"]["message"]
    assert message.startswith("Invalid value: 'job.done'. Supported values are: 'batch.completed',")


@pytest.mark.parametrize("missing", ["name", "url", "event_types"])
def test_what_is_missing_is_named(http, missing):
    """All three are needed to make an endpoint."""
    body = {name: value for name, value in GOOD.items() if name != missing}
    answer = http.post("/v1/webhook_endpoints", json=body)
    assert answer.json()["error"]["param"] == missing
    assert answer.json()["error"]["code"] == "missing_required_parameter"
