"""Running batches in a worker: found in SQL, held by lease and fence, seen through whatever happens."""

import asyncio
import logging
import time
from asyncio import to_thread
from functools import partial
from pathlib import Path
from typing import Final

from jobs import models
from jobs.batch_asking import ask_all
from jobs.batch_claim import BatchClaim
from jobs.batch_endpoints import ENDPOINTS
from jobs.batch_input import Findings, check_input
from jobs.batch_lifecycle import advance, is_over
from jobs.batch_pace import Pace
from jobs.batch_results import Ending, conclude
from jobs.claims import LEASE, held
from jobs.services import Services
from jobs.store.batches import BatchChange, BatchOutcome, BatchRecord
from jobs.store.records import Fenced
from schemas.batches import BatchError, BatchErrors, RequestCounts
from schemas.errors import ApiError, Forbidden, NotFound, Unauthorized

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0
_MAX_HELD: Final = 16
"""Batches that one worker has under way; their requests share each engine's turns."""
_BACKOFF: Final = 2.0
_MAX_BACKOFF: Final = 120.0


class BatchRunner:
    """The part of a worker that runs batches.

    Args:
        services: Open.
        owner: The worker's id.
    """

    def __init__(self, services: Services, *, owner: str) -> None:
        self._services = services
        self._owner = owner
        self._pace = Pace(services)
        self._held = 0

    async def run(self) -> None:
        """Run batches until cancelled; what is under way is then given back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pace.keep())
            while True:
                try:
                    await self._take(group)
                except (OSError, ApiError) as exc:
                    logger.warning("batches wait: %r", exc)
                await asyncio.sleep(_LOOK_EVERY)

    async def _take(self, group: asyncio.TaskGroup) -> None:
        batches = self._services.store.batches
        now, room = time.time(), _MAX_HELD - self._held
        for batch_id in await batches.claimable(now=now, limit=room):
            record = await batches.claim(batch_id, owner=self._owner, now=now, lease=LEASE)
            if record is not None:
                self._held += 1
                group.create_task(self._work(BatchClaim(self._services, record)))

    async def _work(self, claim: BatchClaim) -> None:
        try:
            await see_through(claim, self._pace)
            if is_over(claim.batch.status):
                await self._services.blobs.delete_work_dir(claim.batch.id)
        except (OSError, ApiError) as exc:
            # How it went could not be written down. The lease will run out, and another look find the batch.
            logger.warning("left to its lease: batch_id=%s %r", claim.batch.id, exc)
        finally:
            self._held -= 1


async def see_through(claim: BatchClaim, pace: Pace) -> None:
    """Run a claimed batch and write how it ended; never leave it hanging."""
    claim.listen(now=time.time())
    try:
        async with held(claim):
            await _run(claim, pace)
    except Fenced:
        logger.info("no longer ours: batch_id=%s", claim.batch.id)
    except asyncio.CancelledError:
        # We are told to stop: another worker may go on at once.
        await _if_ours(claim, _given_back)
        raise
    except Exception:
        # The worker's edge: whatever broke, the batch is taken up again.
        logger.exception("will be taken up again: batch_id=%s", claim.batch.id)
        await _if_ours(claim, _again)


async def _run(claim: BatchClaim, pace: Pace) -> None:
    work_dir = await to_thread(claim.services.blobs.work_dir, claim.batch.id)
    input_path = work_dir / "input.jsonl"
    if claim.batch.status == "validating" and not claim.stopping.is_set():
        await _validate(claim, input_path)
    if claim.batch.status in {"in_progress", "finalizing"} and not claim.stopping.is_set():
        await ask_all(claim, pace, input_path=input_path, work_dir=work_dir)
    if not is_over(claim.batch.status):
        await conclude(claim, _ending(claim), input_path=input_path, work_dir=work_dir)


def _ending(claim: BatchClaim) -> Ending:
    if claim.batch.status == "cancelling":
        return "cancelled"
    # What was complete in time stays so, however long its files took.
    is_late = claim.stopping.is_set() and claim.batch.status != "finalizing"
    return "expired" if is_late else "completed"


async def _validate(claim: BatchClaim, input_path: Path) -> None:
    """Look at the input file, and let the batch begin or fail."""
    try:
        await claim.services.blobs.lend_file(claim.batch.input_file_id, input_path)
    except FileNotFoundError:
        gone = BatchError(
            code="invalid_input_file",
            message="The input file was deleted before the batch began.",
            param="input_file_id",
        )
        await claim.change(partial(_failed, errors=[gone]))
        return
    findings = await to_thread(
        check_input, input_path, claim.batch.endpoint, stop=claim.stopping.is_set
    )
    if claim.stopping.is_set():
        return
    if findings.errors:
        await claim.change(partial(_failed, errors=findings.errors))
        return
    try:
        task = ENDPOINTS[claim.batch.endpoint].task
        caller = await claim.caller()
        target = await models.target(claim.services, caller, findings.model, task=task)
    except Unauthorized as exc:
        refused = BatchError(code=exc.code or "missing_scope", message=exc.message)
        await claim.change(partial(_failed, errors=[refused]))
        return
    except (NotFound, Forbidden) as exc:
        unknown = BatchError(
            code=exc.code or "invalid_model", line=1, message=exc.message, param="body.model"
        )
        await claim.change(partial(_failed, errors=[unknown]))
        return
    await claim.change(_begun(findings, model=target.public_name, base=target.base.name))


def _begun(findings: Findings, *, model: str, base: str) -> BatchChange:
    now = int(time.time())

    def change(record: BatchRecord) -> BatchOutcome:
        if record.batch.status != "validating":
            return BatchOutcome(record=record)  # cancelled at the last moment
        batch = advance(record.batch, "in_progress", now=now).model_copy(
            update={"model": model, "request_counts": RequestCounts(total=findings.total)}
        )
        plan = record.plan.model_copy(update={"base": base})
        return BatchOutcome(record=record.model_copy(update={"batch": batch, "plan": plan}))

    return change


def _failed(record: BatchRecord, *, errors: list[BatchError]) -> BatchOutcome:
    if record.batch.status != "validating":
        return BatchOutcome(record=record)  # cancelled at the last moment
    batch = advance(record.batch, "failed", now=int(time.time()))
    batch = batch.model_copy(update={"errors": BatchErrors(data=errors)})
    return BatchOutcome(record=_released(record, batch=batch))


async def _if_ours(claim: BatchClaim, change: BatchChange) -> None:
    try:
        await claim.change(change)
    except Fenced:
        logger.info("no longer ours: batch_id=%s", claim.batch.id)


def _given_back(record: BatchRecord) -> BatchOutcome:
    return BatchOutcome(record=_released(record))


def _again(record: BatchRecord) -> BatchOutcome:
    """Take it up again a little later; only its expiry ends that."""
    pause = min(_MAX_BACKOFF, _BACKOFF * 2 ** min(record.infra_failures, 10))
    failures = record.infra_failures + 1
    return BatchOutcome(
        record=_released(record, infra_failures=failures, next_run_at=time.time() + pause)
    )


def _released(record: BatchRecord, **update: object) -> BatchRecord:
    return record.model_copy(update={"owner": None, "lease_until": 0.0, **update})
