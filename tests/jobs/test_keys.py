"""API keys: only their digest is kept, and a revoked one stops within a second."""

import asyncio
import time

import pytest

from jobs.keys import (
    DEFAULT_PROJECT,
    KeyRing,
    create_admin_key,
    create_key,
    ensure_operator_key,
    mask,
    mint,
    open_key_ring,
    rotate_key,
)
from jobs.store.migrate import migrate
from jobs.store.records import ProjectRecord
from jobs.store.store import open_store
from schemas.errors import Unauthorized
from schemas.scopes import ADMIN_SCOPES, PROJECT_SCOPES


@pytest.fixture
async def store(short_tmp_path):
    url = f"sqlite:///{short_tmp_path / 'retune.db'}"
    await asyncio.to_thread(migrate, url)
    async with open_store(url) as opened:
        yield opened


async def test_a_minted_key_opens_its_project(store):
    """Who holds the key is its project's."""
    key, record = await create_key(store, name="ci", organization_id="local")
    caller = await KeyRing(store).authenticate(key)
    assert (caller.project_id, caller.key_id) == (record.project_id, record.id)


async def test_the_database_holds_no_key(store, short_tmp_path):
    """Not in any file of the database."""
    key, _ = await create_key(store, name="ci", organization_id="local")
    for path in short_tmp_path.iterdir():
        assert key.encode() not in path.read_bytes()


async def test_a_wrong_key_is_refused_masked(store):
    """The words show how it begins and ends, as OpenAI's do, and no more."""
    with pytest.raises(Unauthorized) as caught:
        await KeyRing(store).authenticate("sk-something-secret-yz12")
    assert "sk-so**********yz12" in caught.value.message
    assert "secret" not in caught.value.message
    assert caught.value.code == "invalid_api_key"


async def test_a_revoked_key_stops_within_a_second(store):
    """A second after it was revoked nobody gets in with it, cached or not."""
    key, record = await create_key(store, name="ci", organization_id="local")
    ring = KeyRing(store)
    await ring.authenticate(key)
    await store.keys.revoke(record.id, now=int(time.time()))
    deadline = time.monotonic() + 1.5
    with pytest.raises(Unauthorized):
        while time.monotonic() < deadline:
            await ring.authenticate(key)


async def test_the_operators_key_replaces_the_one_before(store):
    """Any string works; when the variable changes, the old one stops."""
    await ensure_operator_key(store, "hunter2", organization_id="local")
    await ensure_operator_key(store, "hunter2", organization_id="local")
    await ensure_operator_key(store, "correct horse", organization_id="local")
    await KeyRing(store).authenticate("correct horse")
    with pytest.raises(Unauthorized):
        await KeyRing(store).authenticate("hunter2")
    await ensure_operator_key(store, "hunter2", organization_id="local")
    await KeyRing(store).authenticate("hunter2")


async def test_a_key_without_restrictions_may_do_everything_in_its_project(store):
    """And nothing to the organization."""
    key, _ = await create_key(store, name="ci", organization_id="local")
    assert (await KeyRing(store).authenticate(key)).scopes == PROJECT_SCOPES


async def test_a_read_only_key_reads_everything_and_asks_no_model(store):
    """`api.all.read` stands for every scope that reads."""
    key, _ = await create_key(store, name="ci", organization_id="local", scopes=["api.all.read"])
    scopes = (await KeyRing(store).authenticate(key)).scopes
    assert {"api.files.read", "api.fine_tuning.read"} < scopes
    assert all(scope.endswith(".read") for scope in scopes)


async def test_an_admin_key_opens_no_project(store):
    """It is of no project, and has none of a project's scopes."""
    key, _ = await create_admin_key(store, name="root", organization_id="local")
    caller = await KeyRing(store).authenticate(key)
    assert key.startswith("sk-admin-")
    assert (caller.is_admin, caller.project_id, caller.scopes) == (True, "", ADMIN_SCOPES)
    assert ADMIN_SCOPES.isdisjoint(PROJECT_SCOPES)


async def test_a_key_ends_at_its_time(store):
    """From that second on it is nobody's."""
    key, _ = await create_key(
        store, name="ci", organization_id="local", expires_at=int(time.time())
    )
    with pytest.raises(Unauthorized):
        await KeyRing(store).authenticate(key)


async def test_a_rotated_key_keeps_its_id_and_its_old_secret_for_a_while(store):
    """Both secrets open it while the old one may; without time for it, only the new one does."""
    first, record = await create_key(store, name="ci", organization_id="local")
    second, _ = await rotate_key(store, record, old_works_for=3600)
    assert (await KeyRing(store).authenticate(first)).key_id == record.id
    third, _ = await rotate_key(store, record, old_works_for=0)
    ring = KeyRing(store)
    assert (await ring.authenticate(third)).key_id == record.id
    for ended in (first, second):
        with pytest.raises(Unauthorized):
            await ring.authenticate(ended)


async def test_a_rotation_never_prolongs_an_older_secret(store):
    """What was to end within the hour does, whatever the next rotation allows."""
    first, record = await create_key(store, name="ci", organization_id="local")
    await rotate_key(store, record, old_works_for=0)
    await rotate_key(store, record, old_works_for=3600)
    with pytest.raises(Unauthorized):
        await KeyRing(store).authenticate(first)


async def test_the_keys_of_an_archived_project_stop(store):
    """Though none of them was revoked."""
    project = ProjectRecord(id="proj_b", organization_id="local", name="b", created_at=1)
    await store.projects.ensure(project)
    key, _ = await create_key(store, name="ci", organization_id="local", project_id="proj_b")
    await KeyRing(store).authenticate(key)
    await store.projects.update(project.model_copy(update={"archived_at": 2}))
    with pytest.raises(Unauthorized):
        await KeyRing(store).authenticate(key)


async def test_a_keys_use_is_written_when_the_ring_closes(store):
    """Not before: asking writes nothing."""
    key, record = await create_key(store, name="ci", organization_id="local")
    async with open_key_ring(store) as ring:
        await ring.authenticate(key)
        assert (await store.keys.find_open(record.id)).last_used_at is None
    used_at = (await store.keys.find_open(record.id)).last_used_at
    assert used_at >= record.created_at
    await store.keys.write_uses({record.id: used_at - 9})  # another process, a moment late
    assert (await store.keys.find_open(record.id)).last_used_at == used_at


async def test_a_known_key_is_checked_without_the_database(store):
    """Within its second a key costs a look into a dictionary: the very same caller comes back."""
    key, _ = await create_key(store, name="ci", organization_id="local")
    ring = KeyRing(store)
    first = await ring.authenticate(key)
    assert all([await ring.authenticate(key) is first for _ in range(100)])


async def test_keys_are_listed_by_project(store):
    """An admin key is in no project's list, a revoked one in none."""
    _, kept = await create_key(store, name="kept", organization_id="local")
    _, gone = await create_key(store, name="gone", organization_id="local")
    _, admin = await create_admin_key(store, name="root", organization_id="local")
    await store.keys.revoke(gone.id, now=1)
    for project_id, expected in ((DEFAULT_PROJECT, kept), ("", admin)):
        found, has_more = await store.keys.page(
            organization_id="local", project_id=project_id, limit=9, after=None, order="asc"
        )
        assert (found, has_more) == ([expected], False)


def test_minted_keys_are_unlike():
    """A thousand keys, a thousand different ones, all of OpenAI's form and length."""
    keys = {mint() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.startswith("sk-proj-") and len(key) == 57 for key in keys)


def test_a_short_key_is_masked_whole():
    """What is short shows nothing."""
    assert mask("hunter2") == "*******"
