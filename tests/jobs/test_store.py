"""The records, on SQLite and on Postgres."""

import asyncio
import sys
import time
from functools import partial

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, make_url
from sqlalchemy.exc import IntegrityError

from jobs import events
from jobs.reports.states import awaited, begun, given_back
from jobs.store.database import DatabaseUnusable, driver_url
from jobs.store.job_filter import JobFilter
from jobs.store.jobs import Outcome
from jobs.store.migrate import migrate
from jobs.store.records import Fenced, KeyRecord, ModelRecord, ProjectRecord
from jobs.store.store import open_store
from jobs.store.tables import metadata
from schemas.errors import (
    FileNotFound,
    InvalidRequest,
    JobNotFound,
    ModelNotFound,
    StorageFull,
)
from tests import samples


@pytest.fixture
async def store(database_url):
    await asyncio.to_thread(migrate, database_url)
    async with open_store(database_url) as opened:
        yield opened


def test_migrations_make_the_tables_that_the_code_describes(database_url):
    """A migrated database differs in nothing from `tables.metadata`, and migrating again is safe."""
    migrate(database_url)
    migrate(database_url)
    url = make_url(driver_url(database_url))
    sync = url.set(drivername="sqlite") if "sqlite" in url.drivername else url
    engine = create_engine(sync)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection)
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_another_kind_of_database_is_refused_with_advice():
    """The refusal names what can be used."""
    with pytest.raises(DatabaseUnusable, match="sqlite:///… or postgresql://…"):
        driver_url("mysql://localhost/x")


async def test_files_are_paged_newest_first_without_gaps(store):
    """Walking `after` from page to page meets every file once, in order; both orders."""
    made = [samples.file() for _ in range(7)]
    for file in made:
        await store.files.add(file, samples.file_record())
    for order, expected in (("desc", made[::-1]), ("asc", made)):
        seen, after = [], None
        while True:
            page = await store.files.page(
                project_id="proj_a", purpose=None, limit=3, after=after, order=order
            )
            seen += page.data
            assert (page.first_id, page.last_id) == (page.data[0].id, page.data[-1].id)
            if not page.has_more:
                break
            after = page.last_id
        assert seen == expected


async def test_an_empty_page_has_no_ends(store):
    """No files: no ids, nothing more."""
    page = await store.files.page(
        project_id="proj_a", purpose=None, limit=3, after=None, order="desc"
    )
    assert (page.data, page.first_id, page.last_id, page.has_more) == ([], None, None, False)


async def test_what_is_anothers_is_not_there(store):
    """A foreign project's file, job and model are not found, nor usable as a cursor."""
    file, record = samples.file(), samples.record("proj_a")
    await store.files.add(file, samples.file_record("proj_a"))
    await store.jobs.add(record, [])
    with pytest.raises(FileNotFound):
        await store.files.get(file.id, project_id="proj_b")
    with pytest.raises(FileNotFound):
        await store.files.delete(file.id, project_id="proj_b")
    with pytest.raises(JobNotFound):
        await store.jobs.get(record.job.id, project_id="proj_b")
    with pytest.raises(InvalidRequest) as caught:
        await store.files.page(
            project_id="proj_b", purpose=None, limit=1, after=file.id, order="asc"
        )
    assert caught.value.param == "after"


async def test_jobs_are_found_by_their_files(store):
    """By any of several files, whether a job trains on it, validates with it or made it."""
    trains = samples.record(training_file="file-a")
    validates = samples.record(validation_file="file-a")
    made = samples.record(result_files=["file-csv", "file-b"])
    for record in (trains, validates, made):
        await store.jobs.add(record, [])

    async def found(*files):
        page = await store.jobs.page(
            project_id="proj_a", limit=9, wanted=JobFilter(files=list(files))
        )
        return [job.id for job in page.data]

    assert await found("file-a") == [validates.job.id, trains.job.id]
    assert await found("file-b", "file-a") == [made.job.id, validates.job.id, trains.job.id]
    assert await found("file") == []
    assert await found() == []


async def test_jobs_are_found_by_all_of_their_metadata(store):
    """Every pair must match, odd keys too; an empty filter finds jobs without metadata."""
    plain = samples.record()
    both = samples.record(metadata={"team": "a", 'we"ird $key.[0]': "x&y"})
    one = samples.record(metadata={"team": "a"})
    for record in (plain, both, one):
        await store.jobs.add(record, [])

    async def found(wanted):
        page = await store.jobs.page(
            project_id="proj_a", limit=9, wanted=JobFilter(metadata=wanted)
        )
        return [job.id for job in page.data]

    assert await found({"team": "a"}) == [one.job.id, both.job.id]
    assert await found({"team": "a", 'we"ird $key.[0]': "x&y"}) == [both.job.id]
    assert await found({"team": "b"}) == []
    assert await found({}) == [plain.job.id]


async def claim(store, job_id, owner, *, now=None, lease=30.0):
    return await store.jobs.claim(
        job_id,
        lambda record: Outcome(record=record),
        owner=owner,
        validating=False,
        now=time.time() if now is None else now,
        lease=lease,
    )


async def test_a_job_is_claimed_by_one(store):
    """Of many who try at once one gets it."""
    record = samples.record()
    await store.jobs.add(record, [])
    claims = await asyncio.gather(*(claim(store, record.job.id, f"w{n}") for n in range(8)))
    assert sum(found is not None for found in claims) == 1


async def test_a_lease_that_ran_out_fences_its_old_owner(store):
    """After another claim, nothing the first owner tries changes the job."""
    record = samples.record()
    await store.jobs.add(record, [])
    first = await claim(store, record.job.id, "w1", now=100.0, lease=5.0)
    assert await claim(store, record.job.id, "w2", now=104.0) is None
    second = await claim(store, record.job.id, "w2", now=106.0)
    assert second.attempt == first.attempt + 1
    with pytest.raises(Fenced):
        await store.jobs.change(record.job.id, lambda r: Outcome(record=r), attempt=first.attempt)
    assert not await store.jobs.renew(record.job.id, attempt=first.attempt, lease_until=1e12)
    assert await store.jobs.hold(record.job.id, attempt=first.attempt) == "lost"
    assert await store.jobs.hold(record.job.id, attempt=second.attempt) == "held"


async def test_a_change_that_raises_changes_nothing(store):
    """Neither the record nor its events survive a change that fails."""
    record = samples.record()
    await store.jobs.add(record, [events.created(record.job.id)])

    def change(_):
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await store.jobs.change(record.job.id, change)
    assert (await store.jobs.get(record.job.id)) == record
    assert len((await store.jobs.events(record.job.id, limit=9, after=None)).data) == 1


async def test_what_happens_once_is_told_once(store):
    """An event with the same key is not recorded again."""
    record = samples.record()
    await store.jobs.add(record, [events.started()])
    await store.jobs.change(
        record.job.id, lambda r: Outcome(record=r, events=[events.started(), events.succeeded()])
    )
    told = await store.jobs.events(record.job.id, limit=9, after=None)
    assert [event.message for event in told.data] == [
        "The job has successfully completed",
        "Fine-tuning job started",
    ]


async def test_a_deleted_model_is_gone_and_its_name_stays_taken(store):
    """It is not found, and no model names its adapter."""
    model = ModelRecord(
        name="ft:b:local::AbCd1234",
        project_id="proj_a",
        organization_id="local",
        base="b",
        adapter_id="adapter-1",
        job_id="ftjob-1",
        created_at=1,
    )
    record = samples.record()
    await store.jobs.add(record, [])
    await store.jobs.change(record.job.id, lambda r: Outcome(record=r, model=model))
    assert await store.models.find(model.name, project_id="proj_b") is None
    with pytest.raises(ModelNotFound):
        await store.models.delete(model.name, project_id="proj_b", now=2)
    assert await store.models.live_adapters() == {"adapter-1"}
    await store.models.delete(model.name, project_id="proj_a", now=2)
    assert await store.models.find(model.name, project_id="proj_a") is None
    assert await store.models.live_adapters() == set()


async def test_a_revoked_key_is_not_found_and_can_be_given_again(store):
    """Revoking closes a key; adding the same one opens it."""
    await store.projects.ensure(
        ProjectRecord(id="proj_a", organization_id="local", name="A", created_at=1)
    )
    key = KeyRecord(
        id="key_1", project_id="proj_a", organization_id="local", name="n", hint="h", created_at=1
    )
    await store.keys.add(key, digest="d" * 64)
    assert await store.keys.find("d" * 64, now=1) == key
    assert await store.keys.revoke("key_1", now=2)
    assert not await store.keys.revoke("key_1", now=3)
    assert await store.keys.find("d" * 64, now=4) is None
    await store.keys.add(key.model_copy(update={"id": "key_2"}), digest="d" * 64)
    assert (await store.keys.find("d" * 64, now=4)).id == "key_2"


async def test_an_engine_that_is_wanted_keeps_what_was_reported_of_it(store):
    """Wanting touches the time only; reporting touches the state only."""
    await store.machines.want_engine("b", now=1.0)
    await store.machines.report_engine("b", "ready", now=2.0)
    await store.machines.want_engine("b", now=3.0)
    found = await store.machines.find_engine("b")
    assert (found.wanted_at, found.state) == (3.0, "ready")


async def test_a_full_disk_changes_nothing_and_is_told(tmp_path):
    """The database says it is full: the words say so, what was there stays, and it goes on when there is room."""
    url = f"sqlite:///{tmp_path / 'retune.db'}"
    await asyncio.to_thread(migrate, url)
    async with open_store(url) as store:
        record = samples.record()
        await store.jobs.add(record, [])

        async def limit_pages(pages):
            async with store.database.write() as connection:
                await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        await limit_pages(1)
        big = samples.record(metadata={"note": "x" * 512}, training_file="f" * 100_000)
        with pytest.raises(StorageFull, match="no space left"):
            await store.jobs.add(big, [])
        assert (await store.jobs.get(record.job.id)) == record
        await limit_pages(2**30)
        await store.jobs.add(big, [])
        assert (await store.jobs.get(big.job.id)) == big


async def test_no_update_overwrites_another(store, database_url):
    """Three processes that each add one forty times at once add up to 120."""
    record = samples.record()
    await store.jobs.add(record, [])
    command = [sys.executable, "-m", "tests.add_one", database_url, record.job.id]
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(3)]
    assert [await process.wait() for process in processes] == [0, 0, 0]
    assert (await store.jobs.get(record.job.id)).job.trained_tokens == 120


async def test_reports_are_claimed_once_and_by_whoever_comes(store):
    """Of jobs that have succeeded, in their order, when they are due; a lease that ran out frees one."""
    first, second = (samples.record(status="succeeded") for _ in range(2))
    for record in (first, second):
        await store.jobs.add(awaited(record, n_examples=8, now=100.0), [])
    await store.jobs.add(samples.record(status="succeeded"), [])  # of a time before reports
    jobs = store.jobs
    assert await jobs.reports_due(now=100.0, limit=9) == []
    assert await jobs.reports_due(now=200.0, limit=9) == [first.job.id, second.job.id]
    taken = await jobs.claim_report(
        first.job.id, partial(begun, now=200.0), owner="a", now=200.0, lease=30.0
    )
    assert taken.job.report.status == "running"
    assert (
        await jobs.claim_report(
            first.job.id, partial(begun, now=210.0), owner="b", now=210.0, lease=30.0
        )
        is None
    )
    assert await jobs.reports_due(now=210.0, limit=9) == [second.job.id]
    assert [held.job.id for held in await jobs.held()] == [first.job.id]
    again = await jobs.claim_report(
        first.job.id, partial(begun, now=231.0), owner="b", now=231.0, lease=30.0
    )
    assert again.attempt == taken.attempt + 1
    with pytest.raises(Fenced):
        await jobs.change(first.job.id, given_back, attempt=taken.attempt)
    await jobs.change(first.job.id, given_back, attempt=again.attempt)
    assert await jobs.reports_due(now=232.0, limit=9) == [first.job.id, second.job.id]
    for validating in (True, False):
        assert await jobs.claimable(validating=validating, now=1e12) == []


async def test_a_report_and_its_file_come_together(store):
    """A change that raises leaves neither."""
    record = awaited(samples.record(status="succeeded"), n_examples=8, now=0.0)
    await store.jobs.add(record, [])
    file = samples.file(purpose="fine-tune-results")

    def change(found):
        return Outcome(record=found, files=[(file, samples.file_record())] * 2)

    with pytest.raises(IntegrityError):
        await store.jobs.change(record.job.id, change)
    with pytest.raises(FileNotFound):
        await store.files.get(file.id, project_id="proj_a")
