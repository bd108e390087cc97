"""The receiver that the documentation shows."""

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from ipaddress import ip_network
from pathlib import Path

import pytest

from jobs.store.outbox import new_event
from jobs.webhooks.sender import open_sender
from jobs.webhooks.signing import new_secret, signed_headers

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"


def example() -> str:
    """The Python block that receives."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return next(block for block in blocks if "do_POST" in block)


@pytest.fixture
def receiver():
    """The example as a process of its own: where it listens, its secret, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    secret = new_secret()
    with subprocess.Popen(
        [sys.executable, "-c", example()],
        env=os.environ | {"OPENAI_WEBHOOK_SECRET": secret, "PORT": str(port)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        yield f"http://127.0.0.1:{port}/", secret, process
        process.kill()


async def test_the_documented_receiver_takes_what_is_signed_and_nothing_else(receiver):
    """It answers 204 to ours and 400 to what was signed with another secret."""
    url, secret, process = receiver
    body = new_event("batch.completed", "batch_1", now=1).model_dump_json()

    async def answer(sender, secret):
        headers = signed_headers("wh_1", body, secrets=[secret], now=int(time.time()))
        return (await sender.send(url, body, headers)).status_code

    async with open_sender([ip_network("127.0.0.0/8")]) as sender:
        deadline = time.monotonic() + 30
        while (taken := await answer(sender, secret)) is None:
            assert time.monotonic() < deadline, "the receiver did not start"
            await asyncio.sleep(0.05)
        forged = await answer(sender, new_secret())
    process.kill()
    printed, _ = process.communicate()
    assert (taken, forged) == (204, 400)
    assert printed.split() == [b"wh_1", b"batch.completed", b"batch_1"]
