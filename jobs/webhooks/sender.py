"""One POST to a user's URL. The only module of ours that speaks to the world."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from jobs.webhooks.backoff import parse_retry_after
from jobs.webhooks.targets import Address, Networks, TargetRefused, check_addresses, parse_target
from schemas.base import Schema

ANSWER_SECONDS: Final = 10.0
"""From looking up the name to the head of the answer. Of the body nothing is read."""
_READ_BUFFER: Final = 4096
_LOOKUPS_AT_ONCE: Final = 64
"""Threads, started as they are needed: a name server that is slow for some names delays only those."""

Lookup = Callable[[str], Sequence[str]]
"""Returns the addresses of a host; blocks. Raises OSError."""


class Attempt(Schema):
    """How one POST went."""

    status_code: int | None = None
    """None: no answer came."""
    error: str | None = None
    """Why it does not count as delivered."""
    retry_after: float | None = None
    """Seconds that the receiver asked for."""


class Sender:
    """Sends webhooks, and only where they may go."""

    def __init__(
        self,
        allowed: Networks,
        lookup: Lookup,
        tls: ssl.SSLContext,
        threads: ThreadPoolExecutor,
        answer_seconds: float,
    ) -> None:
        self._allowed = allowed
        self._lookup = lookup
        self._tls = tls
        self._threads = threads
        self._answer_seconds = answer_seconds

    def check(self, url: str) -> None:
        """Check what a URL says of itself; where its name leads is seen at each attempt.

        Raises:
            TargetRefused: Webhooks must not go there.
        """
        parse_target(url, allowed=self._allowed)

    async def send(self, url: str, body: str, headers: Mapping[str, str]) -> Attempt:
        """POST `body` and tell how it went. Redirects are not followed, proxies not asked."""
        try:
            async with asyncio.timeout(self._answer_seconds):
                return await self._post(url, body, headers)
        except TargetRefused as exc:
            return Attempt(error=exc.message)
        except TimeoutError:
            return Attempt(error=f"No answer came within {self._answer_seconds:g} s.")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return Attempt(error=_in_words(exc))

    async def _post(self, url: str, body: str, headers: Mapping[str, str]) -> Attempt:
        target = parse_target(url, allowed=self._allowed)
        connector = aiohttp.TCPConnector(
            resolver=_Checked(await self._addresses(target)), ssl=self._tls, force_close=True
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                read_bufsize=_READ_BUFFER,
                trust_env=False,
            ) as session,
            session.post(
                target, data=body.encode(), headers=headers, allow_redirects=False
            ) as response,
        ):
            return _attempt(response)

    async def _addresses(self, target: URL) -> list[Address]:
        """Look up where `target` leads, once, and check all of it."""
        loop = asyncio.get_running_loop()
        # Threads of our own: names that take long to look up keep the process's other work from waiting.
        found = await loop.run_in_executor(self._threads, self._lookup, target.raw_host or "")
        addresses = [ip_address(text) for text in found]
        check_addresses(target, addresses, allowed=self._allowed)
        return addresses


@asynccontextmanager
async def open_sender(
    allowed: Networks,
    *,
    lookup: Lookup | None = None,
    tls: ssl.SSLContext | None = None,
    answer_seconds: float = ANSWER_SECONDS,
) -> AsyncGenerator[Sender]:
    """Make a sender.

    Args:
        allowed: Networks that need not be public, and may be asked without TLS.
        lookup: How to look up names; None: as the system does.
        tls: Whom to trust; None: whom the system trusts.
        answer_seconds: How long one attempt may take.
    """
    threads = ThreadPoolExecutor(_LOOKUPS_AT_ONCE, thread_name_prefix="webhook-lookup")
    try:
        yield Sender(
            allowed,
            system_lookup if lookup is None else lookup,
            ssl.create_default_context() if tls is None else tls,
            threads,
            answer_seconds,
        )
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


def system_lookup(host: str) -> list[str]:
    """Return the addresses of `host`, as the system knows them.

    Raises:
        OSError: It knows none.
    """
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class _Checked(AbstractResolver):
    """Answers with the addresses that were checked, whatever the name would lead to by now."""

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return them; a literal address never comes here: aiohttp connects to it as it stands."""
        del family  # all that were checked will do
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


def _in_words(exc: Exception) -> str:
    match exc:
        case socket.gaierror() | UnicodeError():
            return "The host of the URL is not known."
        case aiohttp.ClientSSLError():
            return "The TLS certificate was not accepted, or TLS is not spoken there."
        case aiohttp.ServerDisconnectedError():
            return "The endpoint closed the connection without an answer."
        case aiohttp.ClientConnectionError() | OSError():
            return "The endpoint could not be connected to."
        case _:
            return "The endpoint's answer is not HTTP."


def _attempt(response: aiohttp.ClientResponse) -> Attempt:
    if response.status // 100 == 2:
        return Attempt(status_code=response.status)
    hint = " Redirects are not followed." if response.status // 100 == 3 else ""
    return Attempt(
        status_code=response.status,
        error=f"The endpoint answered with status {response.status}.{hint}",
        retry_after=parse_retry_after(response.headers.get("retry-after"), now=time.time()),
    )
