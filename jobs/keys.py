"""API keys: made, checked, revoked. The key itself is known only to who got it."""

import hashlib
import secrets
import string
import time
import zlib
from typing import Final

from jobs.store.records import KeyRecord
from jobs.store.store import Store
from schemas.base import Schema
from schemas.errors import Unauthorized
from schemas.ids import new_id

DEFAULT_PROJECT: Final = "proj_default"
OPERATOR_KEY: Final = "RETUNE_API_KEY"
"""The name of the key that the environment gives."""
_ALPHABET: Final = string.digits + string.ascii_letters
_PREFIX: Final = "sk-proj-"
_CACHE_SECONDS: Final = 1.0
"""How long a revoked key may still work."""
_CACHE_SIZE: Final = 4096


class Caller(Schema):
    """Who asks: what a good key says."""

    project_id: str
    organization_id: str
    key_id: str


class KeyRing:
    """Checks keys, and remembers good ones for a second."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Caller]] = {}

    async def authenticate(self, key: str) -> Caller:
        """Return whose key this is.

        Raises:
            Unauthorized: It is nobody's, or revoked.
        """
        digest = key_digest(key)
        now = time.monotonic()
        cached = self._known.get(digest)
        if cached is not None and cached[0] > now:
            return cached[1]
        record = await self._store.keys.find(digest)
        if record is None:
            self._known.pop(digest, None)
            raise Unauthorized(
                f"Incorrect API key provided: {mask(key)}. `retune keys create` makes a new one.",
                code="invalid_api_key",
            )
        caller = Caller(
            project_id=record.project_id, organization_id=record.organization_id, key_id=record.id
        )
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        self._known[digest] = (now + _CACHE_SECONDS, caller)
        return caller


async def create_key(
    store: Store, *, name: str, organization_id: str, key: str | None = None
) -> tuple[str, KeyRecord]:
    """Make a key of the default project and return it: this once.

    Args:
        store: Where its digest is kept.
        name: For people.
        organization_id: The project's, should it have to be made.
        key: Of the operator's own choice; None: one of ours.
    """
    now = int(time.time())
    await store.keys.ensure_project(
        DEFAULT_PROJECT, organization_id=organization_id, name="Default project", now=now
    )
    key = mint() if key is None else key
    record = KeyRecord(
        id=new_id("key_"),
        project_id=DEFAULT_PROJECT,
        organization_id=organization_id,
        name=name,
        hint=mask(key),
        created_at=now,
    )
    await store.keys.add(record, digest=key_digest(key))
    return key, record


async def ensure_operator_key(store: Store, key: str, *, organization_id: str) -> None:
    """Make the operator's own key the one that `RETUNE_API_KEY` names. Safe to repeat.

    A key that the variable named before stops working.
    """
    current = await store.keys.find(key_digest(key))
    for record in await store.keys.all():
        is_current = current is not None and record.id == current.id
        if record.name == OPERATOR_KEY and record.revoked_at is None and not is_current:
            await store.keys.revoke(record.id, now=int(time.time()))
    if current is None:
        await create_key(store, name=OPERATOR_KEY, organization_id=organization_id, key=key)


def mint() -> str:
    """Return a new key: `sk-proj-`, 43 random characters (256 bits), 6 of checksum for secret scanners."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    return f"{_PREFIX}{body}{_checksum(body)}"


def mask(key: str) -> str:
    """Return `key` so that it can be recognised but not used: `sk-pr**********yz12`."""
    if len(key) < 12:
        return "*" * len(key)
    return f"{key[:5]}{'*' * 10}{key[-4:]}"


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key, hex. Keys have 256 random bits, so no slower hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
