"""What a client sees when we are at fault."""

import logging

import httpx
import pytest
from litestar.types import Receive, Scope, Send

from api.errors import ErrorsAnswered
from api.headers import HeadersAdded
from schemas.errors import StorageFull


async def ask(error: Exception, *, after_start: bool = False) -> httpx.Response:
    """Answer one request with an application that raises."""

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        if after_start:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise error

    transport = httpx.ASGITransport(HeadersAdded(ErrorsAnswered(application)))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        return await client.get("/v1/files?secret=1")


@pytest.mark.anyio
async def test_unexpected(caplog: pytest.LogCaptureFixture) -> None:
    """The client learns that it was us, and by which request id we find out more; the log has the rest."""
    response = await ask(RuntimeError("a secret of the database"))
    error = response.json()["error"]
    assert (response.status_code, error["type"]) == (500, "server_error")
    assert error["message"].startswith("The server had an error while processing your request.")
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert response.headers["x-request-id"] in record.getMessage()
    assert "secret=1" not in record.getMessage()


@pytest.mark.anyio
async def test_expected(caplog: pytest.LogCaptureFixture) -> None:
    """An error of ours keeps its status and words, and is nothing to log."""
    response = await ask(StorageFull("No space left."))
    assert response.status_code == 507
    assert response.json()["error"]["message"] == "No space left."
    assert caplog.records == []


@pytest.mark.anyio
async def test_after_the_response_began() -> None:
    """What breaks in the middle of a response is the server's to end: no second response begins."""
    with pytest.raises(RuntimeError, match="late"):
        await ask(RuntimeError("late"), after_start=True)
