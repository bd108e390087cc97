"""API keys: made, checked, replaced. The key itself is known only to who got it."""

import asyncio
import hashlib
import logging
import secrets
import string
import time
import zlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal

from jobs.store.keys import NO_PROJECT
from jobs.store.records import KeyRecord, ProjectRecord
from jobs.store.store import Store
from schemas.base import Schema
from schemas.errors import ApiError, MissingScope, Unauthorized
from schemas.ids import new_id
from schemas.scopes import ADMIN_SCOPES, PROJECT_SCOPES, Restriction, Scope, granted

logger = logging.getLogger(__name__)

DEFAULT_PROJECT: Final = "proj_default"
OPERATOR_KEY: Final = "RETUNE_API_KEY"
"""The name of the key that the environment gives."""
_ALPHABET: Final = string.digits + string.ascii_letters
_CACHE_SECONDS: Final = 1.0
"""How long a revoked key may still work."""
_CACHE_SIZE: Final = 4096
_WRITE_USES_EVERY: Final = 60.0

KeyPrefix = Literal["sk-proj-", "sk-svcacct-", "sk-admin-"]


class Caller(Schema):
    """Who asks: what a good key says."""

    project_id: str
    """Empty: an admin key's, which opens no project."""
    organization_id: str
    key_id: str
    scopes: frozenset[Scope] = PROJECT_SCOPES

    @property
    def is_admin(self) -> bool:
        """Whether the key administers the organization."""
        return not self.project_id

    def ensure_may(self, scope: Scope) -> None:
        """Check one permission.

        Raises:
            MissingScope: The key does not have it.
        """
        if scope not in self.scopes:
            raise MissingScope(scope)


class KeyRing:
    """Checks keys, remembers good ones for a second, and when each was last used."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[str, tuple[float, Caller]] = {}
        self._used: dict[str, int] = {}

    async def authenticate(self, key: str) -> Caller:
        """Return whose key this is.

        Raises:
            Unauthorized: It is nobody's, or revoked, or over, or its project is archived.
        """
        caller = await self.find(key_digest(key))
        if caller is None:
            raise Unauthorized(
                f"Incorrect API key provided: {mask(key)}. `retune keys create` makes a new one.",
                code="invalid_api_key",
            )
        return caller

    async def find(self, digest: str) -> Caller | None:
        """Return whose key has that digest; None where it opens nothing, or nothing any more."""
        if (known := self._find_known(digest)) is not None:
            return known
        record = await self._store.keys.find(digest, now=int(time.time()))
        if record is None:
            return None
        self._used[record.id] = int(time.time())
        return self._remember(digest, record)

    async def act_for(self, key_id: str) -> Caller:
        """Return whose key this is, for work that goes on long after the key was shown.

        Raises:
            Unauthorized: By now it is revoked, or over, or its project is archived.
        """
        if (known := self._find_known(key_id)) is not None:
            return known
        record = await self._store.keys.find_working(key_id, now=int(time.time()))
        if record is None:
            raise Unauthorized(
                f"The API key '{key_id}' that asked for this was revoked or has expired, or its "
                "project was archived. Ask again with a key that works.",
                code="invalid_api_key",
            )
        return self._remember(key_id, record)

    async def write_uses(self) -> None:
        """Record when keys were used since the last time; where that fails, the next time does it."""
        used, self._used = self._used, {}
        if not used:
            return
        try:
            await self._store.keys.write_uses(used)
        except ApiError as exc:
            logger.warning("when keys were used stays unknown a while: %r", exc)
            self._used = used | self._used

    def _find_known(self, name: str) -> Caller | None:
        until, caller = self._known.get(name, (0.0, None))
        return caller if until > time.monotonic() else None

    def _remember(self, name: str, record: KeyRecord) -> Caller:
        """Keep who asks for a second, by the key's digest or id."""
        if len(self._known) >= _CACHE_SIZE:
            self._known.clear()
        caller = caller_of(record)
        self._known[name] = (time.monotonic() + _CACHE_SECONDS, caller)
        return caller


@asynccontextmanager
async def open_key_ring(store: Store) -> AsyncGenerator[KeyRing]:
    """Yield a key ring that writes down once a minute, and at the end, when each key was used."""
    ring = KeyRing(store)

    async def write_now_and_then() -> None:
        while True:
            await asyncio.sleep(_WRITE_USES_EVERY)
            await ring.write_uses()

    writing = asyncio.create_task(write_now_and_then())
    try:
        yield ring
    finally:
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        await ring.write_uses()


def caller_of(record: KeyRecord) -> Caller:
    """Return who asks with that key."""
    return Caller(
        project_id=record.project_id,
        organization_id=record.organization_id,
        key_id=record.id,
        scopes=ADMIN_SCOPES if record.is_admin else granted(record.scopes),
    )


async def create_key(
    store: Store,
    *,
    name: str,
    organization_id: str,
    key: str | None = None,
    project_id: str = DEFAULT_PROJECT,
    scopes: Sequence[Restriction] = (),
    expires_at: int | None = None,
    service_account_id: str | None = None,
) -> tuple[str, KeyRecord]:
    """Make a key of a project and return it: this once.

    Args:
        store: Where its digest is kept.
        name: For people.
        organization_id: The project's.
        key: Of the operator's own choice; None: one of ours.
        project_id: Must be there; the default project is made where it is not.
        scopes: What the key is restricted to; empty: to nothing.
        expires_at: Unix seconds; None: never.
        service_account_id: Whose it is, if not a person's.
    """
    if project_id == DEFAULT_PROJECT:
        await ensure_default_project(store, organization_id=organization_id)
    prefix: KeyPrefix = "sk-proj-" if service_account_id is None else "sk-svcacct-"
    key = mint(prefix) if key is None else key
    record = new_key_record(
        key, name=name, organization_id=organization_id, project_id=project_id
    ).model_copy(
        update={
            "scopes": tuple(scopes),
            "expires_at": expires_at,
            "service_account_id": service_account_id,
        }
    )
    await store.keys.add(record, digest=key_digest(key))
    return key, record


async def create_admin_key(
    store: Store, *, name: str, organization_id: str, expires_at: int | None = None
) -> tuple[str, KeyRecord]:
    """Make a key that administers the organization, and return it: this once."""
    await ensure_default_project(store, organization_id=organization_id)
    key = mint("sk-admin-")
    record = new_key_record(
        key, name=name, organization_id=organization_id, project_id=NO_PROJECT
    ).model_copy(update={"expires_at": expires_at})
    await store.keys.add(record, digest=key_digest(key))
    return key, record


async def rotate_key(
    store: Store, record: KeyRecord, *, old_works_for: int
) -> tuple[str, KeyRecord]:
    """Give a key a new secret under its old id, and return it: this once.

    Args:
        store: Where its digest is kept.
        record: An open key's.
        old_works_for: Seconds that the secret before still works.
    """
    now = int(time.time())
    key = mint(_prefix(record))
    await store.keys.rotate(
        record.id, digest=key_digest(key), hint=mask(key), now=now, old_until=now + old_works_for
    )
    return key, record.model_copy(update={"hint": mask(key)})


async def ensure_default_project(store: Store, *, organization_id: str) -> None:
    """Make the project that the first key belongs to. Safe to repeat."""
    await store.projects.ensure(
        ProjectRecord(
            id=DEFAULT_PROJECT,
            organization_id=organization_id,
            name="Default project",
            created_at=int(time.time()),
        )
    )


async def ensure_operator_key(store: Store, key: str, *, organization_id: str) -> None:
    """Make the operator's own key the one that `RETUNE_API_KEY` names. Safe to repeat.

    A key that the variable named before stops working.
    """
    now = int(time.time())
    current = await store.keys.find(key_digest(key), now=now)
    for record in await store.keys.all():
        is_current = current is not None and record.id == current.id
        if record.name == OPERATOR_KEY and record.revoked_at is None and not is_current:
            await store.keys.revoke(record.id, now=now)
    if current is None:
        await create_key(store, name=OPERATOR_KEY, organization_id=organization_id, key=key)


def end_of(lifetime: int | None) -> int | None:
    """Return the Unix second that is `lifetime` seconds from now; None: never."""
    return None if lifetime is None else int(time.time()) + lifetime


def new_key_record(key: str, *, name: str, organization_id: str, project_id: str) -> KeyRecord:
    """Return the record of a key that was just minted."""
    return KeyRecord(
        id=new_id("key_"),
        project_id=project_id,
        organization_id=organization_id,
        name=name,
        hint=mask(key),
        created_at=int(time.time()),
    )


def mint(prefix: KeyPrefix = "sk-proj-") -> str:
    """Return a new key: a prefix, 43 random characters (256 bits), 6 of checksum for secret scanners."""
    body = "".join(secrets.choice(_ALPHABET) for _ in range(43))
    return f"{prefix}{body}{_checksum(body)}"


def mask(key: str) -> str:
    """Return `key` so that it can be recognised but not used: `sk-pr**********yz12`."""
    if len(key) < 12:
        return "*" * len(key)
    return f"{key[:5]}{'*' * 10}{key[-4:]}"


def key_digest(key: str) -> str:
    """Return the SHA-256 of a key, hex. Keys have 256 random bits, so no slower hash is needed."""
    return hashlib.sha256(key.encode()).hexdigest()


def _prefix(record: KeyRecord) -> KeyPrefix:
    if record.is_admin:
        return "sk-admin-"
    return "sk-proj-" if record.service_account_id is None else "sk-svcacct-"


def _checksum(body: str) -> str:
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
