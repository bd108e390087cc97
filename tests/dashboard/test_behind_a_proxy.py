"""Behind a proxy that ends TLS: what it says of a request is believed when it was named, and of nobody else."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import pytest
from pydantic import ValidationError

from tests.api_server import Server

SIGN_IN = "/ui/sign-in"
HTTPS = {"sec-fetch-site": "same-origin", "accept": "text/html", "x-forwarded-proto": "https"}


@contextmanager
def behind(server: Server, trusted: str) -> Iterator[httpx.Client]:
    """The same server, told whom to trust; asked by a proxy at 127.0.0.1."""
    # Not before `pytest_configure` has chosen the SQLite.
    from api.app import create_app  # noqa: PLC0415
    from tests.api_server import opener, serving  # noqa: PLC0415

    settings = server.settings.model_copy(update={"trusted_proxies": trusted})
    application = create_app(settings, open_services=opener(server.engine))
    with (
        serving(application, settings) as url,
        httpx.Client(base_url=url, headers=HTTPS, timeout=30) as client,
    ):
        yield client


def wrong_key(client: httpx.Client, forwarded_for: str) -> int:
    headers = {"x-forwarded-for": forwarded_for}
    return client.post(SIGN_IN, data={"key": "sk-wrong"}, headers=headers).status_code


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.0/8, 127.0.0.0/8"])
def test_https_at_a_trusted_proxy_is_https(server: Server, trusted):
    """The cookie is for https, this host and all of its paths alone; forms go with it, and code says https."""
    with behind(server, trusted) as client:
        cookie = client.post(SIGN_IN, data={"key": server.key}).headers["set-cookie"]
        assert cookie.startswith("__Host-retune_session=")
        assert "; secure" in cookie.lower()
        client.headers["cookie"] = cookie.partition(";")[0]
        csrf = re.search(r'name="csrf-token" content="(\w+)"', client.get("/ui/files").text)
        assert csrf is not None
        asked = {"csrf_token": csrf[1], "model": "nano", "training_file": "file-1"}
        code = client.post("/ui/jobs/new/code", data=asked)
    assert code.status_code == 200
    assert f"https://{client.base_url.netloc.decode()}/v1" in code.text


@pytest.mark.parametrize("trusted", ["", "10.0.0.0/8"])
def test_nobody_else_is_believed(server: Server, trusted):
    """Who was not named gets the cookie of the connection that there is."""
    with behind(server, trusted) as client:
        cookie = client.post(SIGN_IN, data={"key": server.key}).headers["set-cookie"]
    assert cookie.startswith("retune_session=")
    assert "secure" not in cookie.lower()


def test_who_guesses_waits_behind_a_proxy_too(server: Server):
    """Wrong keys count for who sent them, not for the proxy nor for who they say they are."""
    with behind(server, "127.0.0.1") as client:
        assert {wrong_key(client, f"198.51.100.{n}, 203.0.113.5") for n in range(10)} == {401}
        assert wrong_key(client, "203.0.113.5") == 429
        assert wrong_key(client, "203.0.113.6") == 401
    with behind(server, "10.0.0.0/8") as client:
        assert wrong_key(client, "203.0.113.5") == 401


@pytest.mark.parametrize("text", ["proxy.example", "*", "10.0.0.1/8", "10.0.0.1 10.0.0.2"])
def test_only_addresses_and_networks_are_trusted(server: Server, text):
    """A name, everybody, or a slip stops the server from starting."""
    environ = {"RETUNE_TRUSTED_PROXIES": text}
    settings = server.settings
    with pytest.raises(ValidationError, match="trusted_proxies"):
        type(settings).from_env(environ, data_dir=settings.data_dir, bases_dir=settings.bases_dir)
