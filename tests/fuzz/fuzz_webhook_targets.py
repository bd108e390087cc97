"""URLs of webhooks: whatever is taken leads by TLS to a name, or to an address that `ipaddress` holds for global."""

from ipaddress import ip_address

from jobs.webhooks.targets import TargetRefused, parse_target
from tests.fuzz.target import fuzz


def targets_keep_their_word(text: str) -> None:
    """Check one text, and once more as what follows `https://`."""
    for written in (text, f"https://{text}"):
        try:
            url = parse_target(written, allowed=[])
        except TargetRefused:
            continue
        assert url.scheme == "https"
        assert url.raw_user is None
        assert url.raw_password is None
        assert not set(str(url)) & set(" \t\r\n\\")
        host = (url.raw_host or "").rstrip(".")
        if ":" in host or host.rpartition(".")[2].isdigit():
            assert ip_address(host).is_global
        assert str(parse_target(str(url), allowed=[])) == str(url)


if __name__ == "__main__":
    fuzz(targets_keep_their_word)
