"""Counting what is used: in the process at once, in SQL a moment later."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from jobs.keys import Caller
from jobs.limits.limiter import Allowance
from jobs.store.usage import UsageRecords
from schemas.completions import Usage
from schemas.errors import ApiError
from schemas.usage import UsageKind, Used, UsedBy

logger = logging.getLogger(__name__)

_WRITE_EVERY: Final = 2.0
"""Seconds of counting that a killed process forgets."""


class Meter:
    """Adds up in memory, and writes the sums down every few seconds."""

    def __init__(self, records: UsageRecords) -> None:
        self._records = records
        self._counted: dict[UsedBy, Used] = {}

    def count(self, by: UsedBy, used: Used) -> None:
        """Count; nothing waits for it."""
        self._counted[by] = self._counted.get(by, Used()) + used

    async def write(self) -> None:
        """Write down what was counted since the last time; where that fails, the next time does it."""
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            await self._records.add(counted)
        except ApiError as exc:
            logger.warning("what was used is written down later: %r", exc)
            for by, used in counted.items():
                self.count(by, used)

    async def run(self, closing: asyncio.Event) -> None:
        """Write now and then, and a last time once `closing` is set."""
        while not closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(closing.wait(), _WRITE_EVERY)
            await self.write()
        await self.write()  # what was counted during the last one


@dataclass(frozen=True, slots=True)
class Account:
    """On whom an answer is counted."""

    meter: Meter
    caller: Caller
    model: str
    """As the answer names it."""
    kind: UsageKind = "completions"
    batch: bool = False
    allowance: Allowance | None = None
    """Where tokens are limited: what was assumed, to be set right."""

    def limit_headers(self) -> dict[str, str]:
        """Return OpenAI's `x-ratelimit-…` headers; none where nothing is limited."""
        return {} if self.allowance is None else self.allowance.headers()

    def settle(self, usage: Usage) -> None:
        """Count an answer."""
        if self.allowance is not None:
            self.allowance.settle(usage.total_tokens)
        by = UsedBy(
            minute=int(time.time()) // 60 * 60,
            kind=self.kind,
            project_id=self.caller.project_id,
            api_key_id=self.caller.key_id,
            model=self.model,
            batch=self.batch,
        )
        used = Used(
            requests=1,
            input_tokens=usage.prompt_tokens,
            cached_tokens=usage.prompt_tokens_details.cached_tokens,
            output_tokens=usage.completion_tokens,
        )
        self.meter.count(by, used)


@asynccontextmanager
async def open_meter(records: UsageRecords) -> AsyncGenerator[Meter]:
    """Yield a meter that writes every few seconds, and at the end."""
    meter = Meter(records)
    closing = asyncio.Event()
    writing = asyncio.create_task(meter.run(closing))
    try:
        yield meter
    finally:
        # Not cancelled: of a write that is cut off nobody knows whether it counted.
        closing.set()
        await writing
