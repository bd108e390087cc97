"""Asking a batch's requests: several at a time, as patiently as it takes, each outcome kept at once."""

import asyncio
import logging
from asyncio import to_thread
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final

from pydantic import BaseModel, JsonValue

from jobs.batch_claim import BatchClaim
from jobs.batch_endpoints import ENDPOINTS
from jobs.batch_input import Request, read_requests
from jobs.batch_journal import Entry, Journal, Tally, read_entries
from jobs.batch_pace import Pace
from jobs.blocks import in_thread
from schemas.base import Schema
from schemas.batches import AnswerUsage, BatchUsage, LineResponse, ResultLine
from schemas.errors import ApiError, ErrorBody, ErrorResponse, ModelServerUnavailable
from schemas.ids import new_hex_id

logger = logging.getLogger(__name__)

_READ_AHEAD: Final = 4
"""Requests; each may have megabytes."""
_GRACE: Final = 5.0
"""Seconds that requests under way have to end once the batch is to stop."""
_MAX_TRIES: Final = 5
"""How often an engine that is up may fail at one request before that request is to blame."""
_FIRST_PAUSE: Final = 0.5
_MAX_PAUSE: Final = 60.0
_BROKEN: Final = "The server had an error while processing your request. Sorry about that!"


async def ask_all(claim: BatchClaim, pace: Pace, *, input_path: Path, work_dir: Path) -> None:
    """Ask what has no outcome yet; return when all has, or soon after the claim is to stop.

    Raises:
        StorageFull: An outcome could not be kept; its request will be asked again.
    """
    tally = Tally(claim.batch.request_counts.total)
    done: set[int] = set()
    async with aclosing(in_thread(read_entries(work_dir))) as entries:
        async for entry in entries:
            done.add(entry.number)
            tally.add(entry)
    # Only now: what is shown never falls behind what was shown before.
    claim.tally = tally
    with Journal(work_dir, attempt=claim.record.attempt) as journal:
        pending = (request for request in read_requests(input_path) if request.number not in done)
        await _Asking(claim, pace, tally, journal, pending).run()


class _AnswerBody(Schema):
    """What all answers have in common."""

    usage: AnswerUsage | None = None


class _Asking:
    def __init__(
        self,
        claim: BatchClaim,
        pace: Pace,
        tally: Tally,
        journal: Journal,
        pending: Iterator[Request],
    ) -> None:
        self._claim = claim
        self._tally = tally
        self._journal = journal
        self._pending = in_thread(pending, block=_READ_AHEAD)
        self._turn_to_read = asyncio.Lock()
        self._ask = ENDPOINTS[claim.batch.endpoint].ask
        self._base = claim.record.plan.base
        self._turns = pace.at(self._base)

    async def run(self) -> None:
        n_askers = self._claim.services.settings.batch_concurrency
        try:
            async with aclosing(self._pending), asyncio.TaskGroup() as group:
                askers = [group.create_task(self._ask_on()) for _ in range(n_askers)]
                stopping = group.create_task(self._stop(askers))
                await asyncio.wait(askers)
                stopping.cancel()
        except BaseExceptionGroup as several:
            # They broke on one thing, most often a full disk: the first says it.
            raise several.exceptions[0] from None

    async def _stop(self, askers: list[asyncio.Task[None]]) -> None:
        await self._claim.stopping.wait()
        await asyncio.wait(askers, timeout=_GRACE)
        for asker in askers:
            asker.cancel()

    async def _ask_on(self) -> None:
        """Ask one request after the other."""
        while not self._claim.stopping.is_set() and (request := await self._next()):
            if (entry := await self._outcome(request)) is not None:
                await to_thread(self._journal.append, entry)
                self._tally.add(entry)

    async def _next(self) -> Request | None:
        async with self._turn_to_read:
            return await anext(self._pending, None)

    async def _outcome(self, request: Request) -> Entry | None:
        """Ask until there is an outcome; None: the batch was stopped before."""
        pause, tries = _FIRST_PAUSE, 0
        while True:
            try:
                async with self._turns.turn():
                    caller = await self._claim.caller()
                    answer = await self._ask(self._claim.services, caller, request.body)
            except ApiError as exc:
                tries += await self._is_to_blame(exc)
                if is_final(exc) or tries == _MAX_TRIES:
                    return _failed(request, exc)
            except Exception:
                # As at the API's edge: a request that breaks something of ours must not stop the others.
                logger.exception("a request broke: batch_id=%s", self._claim.batch.id)
                return _failed(request, ApiError(_BROKEN))
            else:
                # Thousands of vectors are megabytes; the loop has leases to renew.
                return await to_thread(_completed, request, answer)
            if await self._claim.stops_within(pause):
                return None
            pause = min(_MAX_PAUSE, pause * 2)

    async def _is_to_blame(self, exc: ApiError) -> bool:
        """Whether the engine failed though it is there."""
        base = self._claim.services.catalog.find(self._base)
        if not isinstance(exc, ModelServerUnavailable) or base is None:
            return False
        return await self._claim.services.engines.is_there(base)


def is_final(exc: ApiError) -> bool:
    """Whether asking again would be answered with the same; limits and what is away pass."""
    return exc.status < 500 and exc.status != 429


def _completed(request: Request, answer: BaseModel) -> Entry:
    body: JsonValue = answer.model_dump(mode="json")
    usage = _AnswerBody.model_validate(body).usage
    return Entry(
        number=request.number,
        is_completed=True,
        usage=BatchUsage() if usage is None else usage.in_batch(),
        result=_line(request, status=200, body=body),
    )


def _failed(request: Request, exc: ApiError) -> Entry:
    error = ErrorBody(message=exc.message, type=exc.type, param=exc.param, code=exc.code)
    body: JsonValue = ErrorResponse(error=error).model_dump(mode="json")
    return Entry(
        number=request.number,
        is_completed=False,
        result=_line(request, status=exc.status, body=body),
    )


def _line(request: Request, *, status: int, body: JsonValue) -> str:
    response = LineResponse(status_code=status, request_id=new_hex_id("req_"), body=body)
    return ResultLine(
        id=new_hex_id("batch_req_"), custom_id=request.custom_id, response=response, error=None
    ).model_dump_json()
