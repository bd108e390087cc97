"""Where webhooks may go: every known trick to reach the operator's network is refused."""

import asyncio
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.webhooks.sender import Attempt, open_sender
from jobs.webhooks.targets import TargetRefused, is_public, parse_target
from tests.receiver import running_receiver

LOOPBACK = [ip_network("127.0.0.0/8")]


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/hook?a=b",
        "https://example.com:8443/",
        "https://bücher.example/",
        "https://a_b.example./",
        "https://8.8.8.8/",
        "https://[2606:4700::1111]/",
    ],
)
def test_what_is_public_is_taken(url):
    """By name or address, on the usual port or a high one, in any script."""
    assert parse_target(url, allowed=[]).scheme == "https"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "https:///hook",
        "example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "http://example.com/",  # a secret would be enough to forge, a listener to read
        "https://user:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com\\@127.0.0.1/",
        "https://example.com/\r\nhost: other",
        "https://exa mple.com/",
        "https://exa%6dple.com/",
        "https://*/",
        "https://a..b/",
        "https://" + "a" * 64 + ".com/",
        "https://[]@",
        "https://example.com:22/",
        "https://example.com:0/",
        "https://example.com:99999/",
    ],
)
def test_what_is_no_plain_https_url_is_refused(url):
    """With the field at fault."""
    with pytest.raises(TargetRefused) as caught:
        parse_target(url, allowed=[])
    assert (caught.value.param, caught.value.code, caught.value.status) == (
        "url",
        "invalid_url",
        400,
    )


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "2130706433",  # decimal
        "0x7f000001",  # hexadecimal
        "0x7f.0.0.1",
        "017700000001",  # octal
        "0177.0.0.1",
        "127.1",
        "0",
        "１２７.0.0.1",  # noqa: RUF001 - full-width digits
        "①②⑦.⓪.⓪.①",
        "127。0。0。1",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[::7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[fe80::1]",
        "[2606:4700::1%25eth0]",
        "[fc00::1]",
        "[fec0::1]",
        "[ff02::1]",
    ],
)
def test_no_spelling_of_an_inner_address_is_taken(host):
    """However it is written."""
    with pytest.raises(TargetRefused):
        parse_target(f"https://{host}/", allowed=[])


@given(st.ip_addresses())
def test_what_python_holds_for_private_is_not_public(address):
    """Nothing that `ipaddress` knows to be special passes our table."""
    if is_public(address):
        assert not address.is_private
        assert not address.is_multicast
        assert not address.is_reserved


URL_PIECES = st.sampled_from(
    [*"abx019:/@[]%.?#\\-_ü。\uff11\u200b\u0661\ud800 \n", "//", "0x7f", "::1", "127.0.0.1"]
)


@given(st.lists(URL_PIECES, max_size=12).map("".join) | st.text(max_size=20))
def test_any_text_is_taken_or_refused(text):
    """Nothing else comes out; and what is taken names a host that no resolver reads as a number."""
    try:
        url = parse_target(f"https://{text}", allowed=[])
    except TargetRefused:
        return
    assert url.scheme == "https"
    assert url.raw_user is None
    host = (url.raw_host or "").rstrip(".")
    assert ":" in host or not host.rpartition(".")[2].isdigit() or is_public(ip_address(host))


def test_plain_http_is_only_for_networks_that_the_operator_names():
    """Even where he names some, what is public is asked with TLS."""
    parse_target("http://127.0.0.1:8000/", allowed=LOOPBACK)
    with pytest.raises(TargetRefused, match="https"):
        parse_target("http://8.8.8.8/", allowed=LOOPBACK)
    with pytest.raises(TargetRefused, match="public internet"):
        parse_target("http://10.0.0.1/", allowed=LOOPBACK)


class Names:
    """A name server whose every answer is set, and counted."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def __call__(self, _host):
        return self.answers.pop(0)


async def send(sender, url):
    return await sender.send(url, "{}", {"content-type": "application/json"})


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["2606:4700::1", "::ffff:10.0.0.1"], ["fe80::1%2"]],
)
async def test_a_name_that_leads_inside_is_not_asked(addresses):
    """One bad address among good ones is enough, and no address is told."""
    async with open_sender([], lookup=Names(addresses)) as sender:
        attempt = await send(sender, "https://hooks.example/")
    assert attempt.status_code is None
    assert "not on the public internet" in attempt.error
    assert not any(address in attempt.error for address in addresses)


async def test_a_name_that_changes_its_mind_is_asked_where_it_was_checked():
    """Each attempt looks up once and connects to that; when the name later leads inside, nothing is sent."""
    with running_receiver() as receiver:
        port = receiver.url.rsplit(":", 1)[1]
        names = Names(["127.0.0.1"], ["10.0.0.1"])
        async with open_sender(LOOPBACK, lookup=names) as sender:
            # The system knows no such name: only what was checked can have been connected to.
            first = await send(sender, f"http://rebind.invalid:{port}")
            second = await send(sender, f"http://rebind.invalid:{port}")
    assert first.status_code == 200
    assert second.status_code is None
    assert names.answers == []
    assert len(receiver.received) == 1
    assert receiver.received[0].headers["host"].startswith("rebind.invalid")


async def test_redirects_are_not_followed():
    """Neither inside nor anywhere: a 302 is an answer that does not count."""
    with running_receiver() as receiver, running_receiver() as inner:
        receiver.status, receiver.headers = 302, {"location": inner.url}
        async with open_sender(LOOPBACK) as sender:
            attempt = await send(sender, receiver.url)
    assert attempt.status_code == 302
    assert "Redirects are not followed" in attempt.error
    assert inner.received == []


async def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    """A proxy would look up the name again, and connect where it likes."""
    with running_receiver() as receiver, running_receiver() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with open_sender(LOOPBACK) as sender:
            assert (await send(sender, receiver.url)).status_code == 200
    assert proxy.received == []


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000 + b"\r\n\r\n", "not HTTP"),
    ],
)
async def test_what_does_not_speak_http_is_no_answer(answer, words):
    """Nothing of what it says is shown."""

    async def talk(reader, writer):
        await reader.readuntil(b"{}")
        writer.write(answer)
        writer.close()

    async with (
        await asyncio.start_server(talk, "127.0.0.1", 0) as server,
        open_sender(LOOPBACK) as sender,
    ):
        port = server.sockets[0].getsockname()[1]
        attempt = await send(sender, f"http://127.0.0.1:{port}/")
    assert attempt.status_code is None
    assert words in attempt.error


async def test_a_body_without_end_is_not_read():
    """The head of an answer is enough; the sender hangs up, whatever else would come."""
    written = 0

    async def pour(reader, writer):
        nonlocal written
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n")
        try:
            while written < 2**26:
                writer.write(b"x" * 2**16)
                written += 2**16
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async with (
        await asyncio.start_server(pour, "127.0.0.1", 0) as server,
        open_sender(LOOPBACK) as sender,
    ):
        port = server.sockets[0].getsockname()[1]
        attempt = await send(sender, f"http://127.0.0.1:{port}/")
    assert attempt.status_code == 200
    assert written < 2**24


async def test_what_takes_too_long_is_no_answer():
    """A head that comes letter by letter, a name that is never found: both end in time."""

    async def dawdle(reader, writer):
        await reader.readuntil(b"{}")
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        while not writer.is_closing():
            writer.write(b"a")
            await asyncio.sleep(0.01)

    over = threading.Event()

    def never(_host):
        over.wait(30)
        return []

    async with await asyncio.start_server(dawdle, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with open_sender(LOOPBACK, answer_seconds=0.2) as sender:
            slow = await send(sender, f"http://127.0.0.1:{port}/")
    async with open_sender(LOOPBACK, lookup=never, answer_seconds=0.2) as sender:
        unfound = await send(sender, "https://hooks.example/")
    over.set()
    for attempt in (slow, unfound):
        assert attempt == Attempt(error="No answer came within 0.2 s.")


async def test_an_unknown_name_and_a_closed_port_are_told():
    """In words of ours."""
    async with open_sender(LOOPBACK) as sender:
        unknown = await send(sender, "https://nowhere.invalid")
        closed = await send(sender, "http://127.0.0.1:1024/")
    assert unknown.error == "The host of the URL is not known."
    assert closed.error == "The endpoint could not be connected to."


@pytest.fixture
def tls_receiver(tmp_path):
    """A server with a certificate for `hooks.example`; returns its port and the certificate."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = shutil.which("openssl")
    assert openssl, "openssl is not installed"
    made = "req -x509 -nodes -days 1 -newkey ec -pkeyopt ec_paramgen_curve:P-256"
    named = "-subj /CN=hooks.example -addext subjectAltName=DNS:hooks.example"
    command = [openssl, *made.split(), *named.split(), "-keyout", key, "-out", certificate]
    subprocess.run(command, check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.handle_error = lambda *_: None  # a client that refuses our certificate
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port, certificate
        server.shutdown()
        thread.join()


async def test_the_certificate_must_be_the_names_though_the_address_is_pinned(tls_receiver):
    """A trusted one for the very name is taken; for another name, or from nobody we trust, it is not."""
    port, certificate = tls_receiver
    trusting = ssl.create_default_context(cafile=certificate)

    def here(_host):
        return ["127.0.0.1"]

    async with open_sender(LOOPBACK, lookup=here, tls=trusting) as sender:
        assert (await send(sender, f"https://hooks.example:{port}/")).status_code == 204
        other = await send(sender, f"https://other.example:{port}/")
    async with open_sender(LOOPBACK, lookup=here) as sender:
        untrusted = await send(sender, f"https://hooks.example:{port}/")
    for attempt in (other, untrusted):
        assert attempt.status_code is None
        assert "certificate" in attempt.error
