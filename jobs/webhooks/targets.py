"""Which URLs and addresses a webhook may go to.

A webhook makes this server call whatever a user names, from inside the operator's network. So names are
looked up by us, each address is checked here at every attempt, and the connection goes to what was checked.
"""

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from yarl import URL  # what aiohttp parses with: what is checked is what is asked

from schemas.errors import InvalidRequest

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

_UNPRIVILEGED: Final = 1024
_WEB_PORTS: Final = frozenset({80, 443})

_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")
_NUMBER: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")
"""Hosts that some resolver reads as an IPv4 address (WHATWG URL, "ends in a number"): `0x7f.1`, `2130706433`."""
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f\\]")

_NOT_PUBLIC: Final[Networks] = [
    ip_network(text)
    for text in (
        # IANA's special-purpose registries, RFC 6890 and what came after it.
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carriers' NAT
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata services of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "2001::/23",  # Teredo and other protocols'
        "2001:db8::/32",
        "2002::/16",  # 6to4: holds any IPv4 address
        "3fff::/20",
    )
]
_GLOBAL_IPV6: Final = IPv6Network("2000::/3")
"""All that is given out: outside it lie loopback, link-local, multicast, and the prefixes of NAT64 and mapped IPv4."""


class TargetRefused(InvalidRequest):
    """A webhook must not go there."""

    def __init__(self, message: str) -> None:
        super().__init__(f"Invalid 'url': {message}", param="url", code="invalid_url")


def parse_target(text: str, *, allowed: Networks) -> URL:
    """Return where a webhook's URL leads, as far as the URL alone tells.

    Args:
        text: As the user gave it; international names are encoded.
        allowed: Networks that need not be public, and may be asked without TLS.

    Raises:
        TargetRefused: It is no URL that webhooks may go to.
    """
    if _UNSAFE.search(text):
        raise TargetRefused("it must not hold spaces, control characters or backslashes.")
    try:
        url = URL(text)
    except (ValueError, IndexError) as exc:  # yarl 1.25 indexes past the end of `https://[]@`
        raise TargetRefused("it is not a URL.") from exc
    if url.scheme != "https" and not (allowed and url.scheme == "http"):
        raise TargetRefused("it must begin with 'https://'.")
    if url.raw_user is not None or url.raw_password is not None:
        raise TargetRefused("it must not hold a user name or password.")
    if url.port is None or (url.port < _UNPRIVILEGED and url.port not in _WEB_PORTS):
        raise TargetRefused("its port must be 443, or 1024 or above.")
    host = url.raw_host or ""
    literal = _literal(host)
    if literal is not None:
        check_addresses(url, [literal], allowed=allowed)
    elif _NUMBER.fullmatch(host) or not _NAME.fullmatch(host):
        raise TargetRefused("it must name a host, such as 'https://example.com/webhooks'.")
    return url


def check_addresses(url: URL, addresses: Sequence[Address], *, allowed: Networks) -> None:
    """Check where a host's name leads: one bad address among them is one too many.

    Raises:
        TargetRefused: There is none, or one that webhooks must not go to.
    """
    if not addresses:
        raise TargetRefused("its host has no address.")
    for address in addresses:
        if any(address in network for network in allowed):
            continue
        # Not which address: that would tell a user what the names of a closed network are.
        if not is_public(address):
            raise TargetRefused(
                "its host is not on the public internet. The operator of this server can allow "
                "private networks with RETUNE_WEBHOOK_ALLOW_PRIVATE."
            )
        if url.scheme != "https":
            raise TargetRefused("it must begin with 'https://'.")


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet, and nothing but itself."""
    if isinstance(address, IPv6Address) and (
        address not in _GLOBAL_IPV6 or address.scope_id is not None
    ):
        return False
    return not any(address in network for network in _NOT_PUBLIC)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None
