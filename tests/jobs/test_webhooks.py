"""Webhooks: told exactly of what happened, signed, and sent until somebody takes them."""

import asyncio
import json
import signal
import sys
import time
from dataclasses import replace

import pytest
from openai import OpenAI
from sqlalchemy.exc import IntegrityError
from standardwebhooks import Webhook

from jobs import fine_tuning
from jobs.keys import Caller
from jobs.services import open_services
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.records import ModelRecord
from jobs.store.store import open_store
from jobs.store.webhooks import EndpointNotFound
from jobs.webhooks import endpoints
from jobs.webhooks.backoff import TRIED_FOR, next_attempt_at, parse_retry_after
from jobs.webhooks.deliveries import LEASE, Deliveries, deliver, outcome_of
from jobs.webhooks.sender import Attempt
from jobs.webhooks.signing import new_secret, signed_headers
from jobs.worker import Worker
from schemas.errors import InvalidRequest
from schemas.webhooks import EndpointCreate, EndpointTest, EndpointUpdate, SecretRotate
from tests import samples
from tests.receiver import running_receiver

CALLER = Caller(project_id="proj_a", organization_id="local", key_id="key_1")
STRANGER = Caller(project_id="proj_b", organization_id="local", key_id="key_2")
ENDS = ["fine_tuning.job.succeeded", "fine_tuning.job.failed", "fine_tuning.job.cancelled"]
NEVER = 10.0**12
"""Unix seconds: by then everything is due."""


@pytest.fixture
async def services(settings, redis_url):
    settings = settings.model_copy(
        update={"redis_url": redis_url, "webhook_allow_private": "127.0.0.0/8"}
    )
    await asyncio.to_thread(migrate, settings.effective_database_url)
    async with open_services(settings) as opened:
        yield opened


@pytest.fixture
def receiver():
    with running_receiver() as running:
        yield running


async def listening(services, url, *, caller=CALLER, types=ENDS):
    body = EndpointCreate(name="x", url=url, event_types=types)
    return await endpoints.create(services, caller, body)


def becoming(status):
    """The change that puts a job into a status."""
    return lambda record: Outcome(
        record=record.model_copy(update={"job": record.job.model_copy(update={"status": status})})
    )


async def ended_job(services, status="succeeded", *, project_id="proj_a"):
    record = samples.record(project_id, status="running")
    await services.store.jobs.add(record, [])
    await services.store.jobs.change(record.job.id, becoming(status))
    return record.job.id


async def claim(services, *, now=NEVER, busy=(), limit=99):
    return await services.store.outbox.claim(now=now, lease=LEASE, busy=busy, limit=limit)


@pytest.mark.parametrize("status", ["succeeded", "failed", "cancelled"])
async def test_the_sdk_takes_what_is_sent_when_a_job_ends(services, receiver, status):
    """Signature, type and id are right, by OpenAI's own client; the endpoint shows that it went well."""
    endpoint = await listening(services, receiver.url)
    job_id = await ended_job(services, status)
    for delivery in await claim(services):
        await deliver(services, delivery)
    [sent] = receiver.received
    client = OpenAI(api_key="x", webhook_secret=endpoint.signing_secret)
    event = client.webhooks.unwrap(sent.body, sent.headers)
    assert (event.type, event.data.id) == (f"fine_tuning.job.{status}", job_id)
    assert event.id.startswith("evt_")
    assert sent.headers["webhook-id"].startswith("wh_")
    assert sent.headers["content-type"] == "application/json"
    shown = (await endpoints.get(services, CALLER, endpoint.id)).last_delivery
    assert (shown.status, shown.status_code, shown.attempts) == ("delivered", 200, 1)
    assert await claim(services) == []


async def test_an_end_is_told_once_and_nothing_else_is(services, receiver):
    """Not what is no end, not a second change after it, not what was not asked for."""
    await listening(services, receiver.url, types=["fine_tuning.job.failed"])
    record = samples.record(status="queued")
    await services.store.jobs.add(record, [])
    for status in ("running", "failed", "failed"):
        await services.store.jobs.change(record.job.id, becoming(status))
    await ended_job(services, "succeeded")
    assert [delivery.event_type for delivery in await claim(services)] == ["fine_tuning.job.failed"]
    assert await claim(services) == []


async def test_a_change_that_is_not_made_is_not_told(services, receiver):
    """Event and status are one transaction: where its model's name is taken, a job has not succeeded."""
    await listening(services, receiver.url)
    taken = ModelRecord(
        name="ft:b:local::AbCd1234",
        project_id="proj_a",
        organization_id="local",
        base="b",
        adapter_id="adapter-1",
        job_id="ftjob-1",
        created_at=1,
    )
    records = [samples.record(status="running") for _ in range(2)]

    def publish(record):
        return becoming("succeeded")(record).model_copy(update={"model": taken})

    for record in records:
        await services.store.jobs.add(record, [])
    await services.store.jobs.change(records[0].job.id, publish)
    with pytest.raises(IntegrityError):
        await services.store.jobs.change(records[1].job.id, publish)
    [delivery] = await claim(services)
    assert records[0].job.id in delivery.body
    assert await claim(services, now=time.time()) == []


async def test_anothers_endpoint_hears_nothing(services, receiver):
    """Events stay in their project."""
    await listening(services, receiver.url, caller=STRANGER)
    await ended_job(services)
    assert await claim(services) == []


async def test_anothers_endpoint_is_not_there(services, receiver):
    """A stranger can neither see, change, try nor delete it, nor page on after it."""
    endpoint = await listening(services, receiver.url)
    calls = (
        endpoints.get(services, STRANGER, endpoint.id),
        endpoints.update(services, STRANGER, endpoint.id, EndpointUpdate(name="y")),
        endpoints.rotate_secret(services, STRANGER, endpoint.id, SecretRotate()),
        endpoints.test(services, STRANGER, endpoint.id, EndpointTest(event_type="batch.failed")),
        endpoints.delete(services, STRANGER, endpoint.id),
    )
    for call in calls:
        with pytest.raises(EndpointNotFound):
            await call
    assert (await endpoints.list_endpoints(services, STRANGER, limit=9, after=None)).data == []
    with pytest.raises(InvalidRequest):
        await endpoints.list_endpoints(services, STRANGER, limit=9, after=endpoint.id)
    shown = await endpoints.get(services, CALLER, endpoint.id)
    assert shown.model_dump() == endpoint.model_dump(exclude={"signing_secret"})
    assert receiver.received == []


async def test_each_endpoint_gets_the_event_with_an_id_of_its_own(services, receiver):
    """One event, one delivery for each."""
    for _ in range(3):
        await listening(services, receiver.url)
    await ended_job(services)
    deliveries = await claim(services)
    assert len({delivery.id for delivery in deliveries}) == 3
    assert len({delivery.body for delivery in deliveries}) == 1


async def test_a_delivery_is_claimed_by_one(services, receiver, settings):
    """Of many who look at once one gets it; when his lease is over, another does."""
    await listening(services, receiver.url)
    await ended_job(services)
    now = time.time() + 1
    claims = await asyncio.gather(*(claim(services, now=now) for _ in range(8)))
    [first] = [delivery for found in claims for delivery in found]
    assert await claim(services, now=now + LEASE - 1) == []
    [second] = await claim(services, now=now + LEASE + 1)
    assert (second.id, second.attempts) == (first.id, 2)
    outcome = outcome_of(first, Attempt(status_code=200), now=now, dice=0)
    assert not await services.store.outbox.record(first, outcome)
    assert await services.store.outbox.record(second, outcome)


async def test_a_failed_delivery_is_made_again_with_the_same_id(services, receiver):
    """Same id, same body, a fresh time and signature; and the endpoint shows why."""
    endpoint = await listening(services, receiver.url)
    await ended_job(services)
    receiver.status = 500
    [delivery] = await claim(services)
    await deliver(services, delivery)
    shown = (await endpoints.get(services, CALLER, endpoint.id)).last_delivery
    assert (shown.status, shown.status_code) == ("pending", 500)
    assert shown.error == "The endpoint answered with status 500."
    assert shown.next_attempt_at > time.time()
    receiver.status = 204
    for again in await claim(services):
        await deliver(services, again)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    shown = (await endpoints.get(services, CALLER, endpoint.id)).last_delivery
    assert (shown.status, shown.attempts, shown.error) == ("delivered", 2, None)


async def test_a_worker_killed_while_it_sends_loses_nothing(services, receiver):
    """After kill -9 between the POST and its record the same delivery is made again."""
    await listening(services, receiver.url)
    await ended_job(services)
    receiver.open.clear()
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.webhook_worker", str(services.settings.data_dir)
    )
    await asyncio.to_thread(receiver.wait_for, 1)
    worker.kill()
    assert await worker.wait() == -signal.SIGKILL
    receiver.open.set()
    [again] = await claim(services, now=time.time() + LEASE + 1)
    await deliver(services, again)
    first, second = receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == again.id


async def test_after_72_hours_a_delivery_is_given_up(services, receiver):
    """The endpoint shows it, and nobody is bothered any more."""
    endpoint = await listening(services, receiver.url)
    await ended_job(services)
    [delivery] = await claim(services)
    late = delivery.created_at + TRIED_FOR
    outcome = outcome_of(delivery, Attempt(status_code=503, error="x"), now=late, dice=0)
    await services.store.outbox.record(delivery, outcome)
    shown = (await endpoints.get(services, CALLER, endpoint.id)).last_delivery
    assert (shown.status, shown.next_attempt_at) == ("given_up", None)
    assert await claim(services) == []


async def test_what_is_old_is_forgotten(services, receiver):
    """Deliveries by their age, old secrets when their day is over."""
    endpoint = await listening(services, receiver.url)
    await endpoints.rotate_secret(
        services, CALLER, endpoint.id, SecretRotate(keep_old_secret_active_for_24_hours=True)
    )
    await ended_job(services)
    await services.store.outbox.forget(created_before=0, now=0)
    [delivery] = await claim(services, now=time.time() + 1)
    assert len(delivery.secrets) == 2
    await services.store.outbox.forget(created_before=int(NEVER), now=int(NEVER))
    assert await claim(services) == []
    record = await services.store.webhooks.get(endpoint.id, project_id="proj_a")
    assert record.old_secret is None


async def test_one_delivery_at_a_time_goes_to_an_endpoint(services, receiver):
    """The oldest first; an endpoint that is busy is left alone."""
    endpoint = await listening(services, receiver.url)
    jobs = [await ended_job(services) for _ in range(3)]
    [first] = await claim(services)
    assert jobs[0] in first.body
    assert await claim(services, busy={endpoint.id}) == []
    [second] = await claim(services, now=time.time() + 1)
    assert jobs[1] in second.body


@pytest.fixture
async def sending(services):
    task = asyncio.create_task(Deliveries(services).run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_slow_endpoint_holds_up_no_other(services, receiver, sending):
    """While one does not answer, twenty events reach another, in order."""
    with running_receiver() as slow:
        slow.open.clear()
        await listening(services, slow.url)
        await listening(services, receiver.url)
        jobs = [await ended_job(services) for _ in range(20)]
        await asyncio.to_thread(receiver.wait_for, 20)
        assert len(slow.received) == 1
        assert [
            job in sent.body.decode() for job, sent in zip(jobs, receiver.received, strict=True)
        ]


class Breaking:
    """A sender with a mistake in it, for one host."""

    def __init__(self, sender, broken):
        self._sender, self._broken = sender, broken

    async def send(self, url, body, headers):
        if url == self._broken:
            raise RuntimeError("a mistake of ours")
        return await self._sender.send(url, body, headers)


async def test_a_delivery_that_breaks_stops_nothing_else(services, receiver, caplog):
    """Not even the worker, whose trainings would end with it."""
    broken = receiver.url + "/broken"
    await listening(services, broken)
    await listening(services, receiver.url)
    faulty = replace(services, webhooks=Breaking(services.webhooks, broken))
    task = asyncio.create_task(Deliveries(faulty).run())
    for _ in range(2):
        await ended_job(services)
    await asyncio.to_thread(receiver.wait_for, 2)
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert "a mistake of ours" in caplog.text


async def test_several_senders_send_nothing_twice(services, receiver, sending):
    """Three workers, two endpoints, twenty-one events: forty-two calls."""
    for _ in range(2):
        await listening(services, receiver.url)
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(Deliveries(services).run()) for _ in range(2)]
        for _ in range(20):
            await ended_job(services)
        await asyncio.to_thread(receiver.wait_for, 40)
        await ended_job(services)  # whatever came twice would have come before it
        await asyncio.to_thread(receiver.wait_for, 42)
        for task in others:
            task.cancel()
    ids = [sent.headers["webhook-id"] for sent in receiver.received]
    assert len(ids) == len(set(ids)) == 42


async def test_a_worker_tells_of_the_jobs_it_ends(services, receiver):
    """Whose file is gone has failed, whom its owner cancels is cancelled: both are told."""
    await listening(services, receiver.url)
    worker = asyncio.create_task(Worker(services).run())
    lost = samples.record(status="validating_files")
    await services.store.jobs.add(lost, [])
    await asyncio.to_thread(receiver.wait_for, 1)
    cancelled = samples.record(status="paused")
    await services.store.jobs.add(cancelled, [])
    await fine_tuning.cancel(services, CALLER, cancelled.job.id)
    await asyncio.to_thread(receiver.wait_for, 2)
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    told = [json.loads(sent.body) for sent in receiver.received]
    assert [(event["type"], event["data"]["id"]) for event in told] == [
        ("fine_tuning.job.failed", lost.job.id),
        ("fine_tuning.job.cancelled", cancelled.job.id),
    ]


async def test_both_secrets_sign_for_a_day(services, receiver):
    """Who still has the old one is content, and so is who has the new one; without the wish only he is."""
    old = await listening(services, receiver.url)
    wish = SecretRotate(keep_old_secret_active_for_24_hours=True)
    new = await endpoints.rotate_secret(services, CALLER, old.id, wish)
    await ended_job(services)
    [delivery] = await claim(services, now=time.time() + 1)
    await deliver(services, delivery)
    sent = receiver.received[-1]
    for secret in (old.signing_secret, new.signing_secret):
        Webhook(secret).verify(sent.body, sent.headers)
    record = await services.store.webhooks.get(old.id, project_id="proj_a")
    assert record.live_secrets(now=time.time() + 25 * 3600) == (new.signing_secret,)
    newest = await endpoints.rotate_secret(services, CALLER, old.id, SecretRotate())
    record = await services.store.webhooks.get(old.id, project_id="proj_a")
    assert record.live_secrets(now=time.time()) == (newest.signing_secret,)


async def test_an_endpoint_may_move_and_go(services, receiver):
    """What waits follows it to its new URL, and is forgotten with it."""
    endpoint = await listening(services, "http://127.0.0.1:1024/")
    await ended_job(services)
    await endpoints.update(services, CALLER, endpoint.id, EndpointUpdate(url=receiver.url))
    [delivery] = await claim(services)
    assert delivery.url == receiver.url
    await endpoints.delete(services, CALLER, endpoint.id)
    assert await claim(services) == []
    outcome = outcome_of(delivery, Attempt(status_code=200), now=1, dice=0)
    assert not await services.store.outbox.record(delivery, outcome)


async def test_a_project_has_twenty_endpoints_at_most(services, receiver):
    """Each event is sent to each: a project cannot make this server a cannon."""
    for _ in range(20):
        await listening(services, receiver.url)
    with pytest.raises(InvalidRequest) as caught:
        await listening(services, receiver.url)
    assert caught.value.code == "webhook_endpoint_limit_reached"
    await listening(services, receiver.url, caller=STRANGER)


async def test_signing_secrets_lie_in_a_file_of_the_owners(services):
    """Database and log can be read by who runs the server, and nobody else."""
    await listening(services, "http://127.0.0.1:1024/")
    files = list(services.settings.data_dir.glob("retune.db*"))
    assert len(files) > 1
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


async def test_it_works_on_either_database(database_url):
    """Claiming, recording, changing and deleting are good SQL on SQLite and on Postgres."""
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as store:
        services = OnlyStore(store)
        endpoint = await listening(services, "http://127.0.0.1:1024/")
        await ended_job(services)
        claims = await asyncio.gather(*(claim(services, now=time.time() + 1) for _ in range(8)))
        [delivery] = [delivery for found in claims for delivery in found]
        outcome = outcome_of(delivery, Attempt(error="x"), now=time.time(), dice=0.5)
        assert await store.outbox.record(delivery, outcome)
        await store.outbox.forget(created_before=0, now=0)
        page = await endpoints.list_endpoints(services, CALLER, limit=1, after=None)
        assert page.data[0].last_delivery == outcome
        await endpoints.update(services, CALLER, endpoint.id, EndpointUpdate(name="y"))
        await endpoints.delete(services, CALLER, endpoint.id)
        assert await claim(services) == []


class AnyTarget:
    """A sender that has nothing against any URL."""

    def check(self, _url):
        pass


class OnlyStore:
    """What endpoints need of the services."""

    webhooks = AnyTarget()

    def __init__(self, store):
        self.store = store


def test_pauses_double_up_to_four_hours():
    """From five seconds, with up to a fifth more by chance."""

    def pause(attempts, *, dice=0.0, retry_after=None):
        asked = {"created_at": 0, "now": 100.0, "retry_after": retry_after, "dice": dice}
        return next_attempt_at(attempts, **asked) - 100

    assert [pause(attempts) for attempts in (1, 2, 3, 4)] == [5, 10, 20, 40]
    assert pause(1, dice=0.5) == 5.5
    assert pause(12) == 10_240
    assert pause(13) == pause(10_000) == 4 * 3600
    assert pause(1, retry_after=60) == 60
    assert pause(5, retry_after=1) == 80
    assert pause(1, retry_after=1e9) == 4 * 3600


@pytest.mark.parametrize("dice", [0.0, 0.999])
def test_the_last_attempt_is_made_72_hours_after_the_event(dice):
    """After some thirty attempts; none comes later."""
    now, made = 0.0, [0.0]
    while (
        after := next_attempt_at(len(made), created_at=0, now=now, retry_after=None, dice=dice)
    ) is not None:
        assert after > now
        now = after
        made.append(now)
    assert made[-1] == TRIED_FOR
    assert 20 < len(made) < 40


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("9" * 5000, 999_999_999),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_a_receiver_may_ask_for_time(text, seconds):
    """In seconds or by a date; at 100 s after the epoch."""
    assert parse_retry_after(text, now=100.0) == seconds


def test_signatures_are_those_of_openais_own_vector():
    """Secret, id, time and body of the SDK's tests give the signature of the SDK's tests."""
    body = (
        '{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        '"type": "response.completed", "data": {"id": "resp_123"}}'
    )
    headers = signed_headers(
        "wh_685c059ae39c8190af8c71ed1022a24d",
        body,
        secrets=["whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="],
        now=1750861210,
    )
    assert headers["webhook-signature"] == "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY="
    assert headers["webhook-timestamp"] == "1750861210"


def test_secrets_are_of_32_bytes_and_never_the_same():
    """In base64 behind their prefix, 50 characters in all."""
    made = {new_secret() for _ in range(100)}
    assert len(made) == 100
    assert {len(secret) for secret in made} == {50}
