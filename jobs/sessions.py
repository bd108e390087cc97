"""Who is signed in to the dashboard: a secret in a cookie stands for the key that signed in.

The key itself is kept nowhere, only its digest. A session ends with its key: one that is revoked, rotated away, over
or of an archived project opens nothing, within the second that `jobs.keys` takes to notice.
"""

import hashlib
import secrets
import time
from typing import Final

from jobs.keys import Caller, key_digest
from jobs.services import Services
from schemas.base import Schema

IDLE_SECONDS: Final = 12 * 3600
"""A session that nobody uses for so long is over."""
MAX_SECONDS: Final = 7 * 24 * 3600
"""And so is one that is so old, used or not."""
_TOUCH_EVERY: Final = 60


class SignedIn(Schema):
    """A session in use."""

    secret: str
    """What the cookie holds: 43 characters, 256 random bits."""
    caller: Caller

    @property
    def csrf_token(self) -> str:
        """What a form must send back: a page of another origin can neither read nor guess it."""
        return _digest(f"csrf:{self.secret}")


class Sessions:
    """Opens sessions, finds and ends them.

    Args:
        services: Open.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._touched: dict[str, int] = {}

    async def sign_in(self, key: str) -> SignedIn:
        """Open a new session for a key: never one that was there before, so none can be fixed in advance.

        Raises:
            Unauthorized: The key is nobody's.
        """
        caller = await self._services.keys.authenticate(key)
        now = int(time.time())
        secret = secrets.token_urlsafe(32)
        records = self._services.store.sessions
        await records.remove_over(created_before=now - MAX_SECONDS, seen_before=now - IDLE_SECONDS)
        await records.add(_digest(secret), key_digest=key_digest(key), now=now)
        return SignedIn(secret=secret, caller=caller)

    async def find(self, secret: str) -> SignedIn | None:
        """Return the session of a cookie, or None where it is over."""
        now = int(time.time())
        digest = _digest(secret)
        records = self._services.store.sessions
        opened_with = await records.find(
            digest, created_after=now - MAX_SECONDS, seen_after=now - IDLE_SECONDS
        )
        caller = await self._services.keys.find(opened_with) if opened_with else None
        if caller is None:
            return None
        await self._touch(digest, now=now)
        return SignedIn(secret=secret, caller=caller)

    async def sign_out(self, signed_in: SignedIn) -> None:
        """End a session; its cookie opens nothing any more."""
        await self._services.store.sessions.remove(_digest(signed_in.secret))

    async def _touch(self, digest: str, *, now: int) -> None:
        if self._touched.get(digest, 0) > now - _TOUCH_EVERY:
            return
        self._touched = {
            each: seen for each, seen in self._touched.items() if seen > now - _TOUCH_EVERY
        }
        self._touched[digest] = now
        await self._services.store.sessions.touch(digest, now=now)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
