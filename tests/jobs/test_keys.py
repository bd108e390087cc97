"""API keys: only their digest is kept, and a revoked one stops within a second."""

import asyncio
import time

import pytest

from jobs.keys import (
    KeyRing,
    create_key,
    ensure_operator_key,
    mask,
    mint,
)
from jobs.store.migrate import migrate
from jobs.store.store import open_store
from schemas.errors import Unauthorized


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


def test_minted_keys_are_unlike():
    """A thousand keys, a thousand different ones, all of OpenAI's form and length."""
    keys = {mint() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(key.startswith("sk-proj-") and len(key) == 57 for key in keys)


def test_a_short_key_is_masked_whole():
    """What is short shows nothing."""
    assert mask("hunter2") == "*******"
