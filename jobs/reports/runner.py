"""Reports in a worker: found in SQL, held by lease and fence, made once whatever happens; never in training's way."""

import asyncio
import logging
import time
from functools import partial
from typing import Final

from pydantic import JsonValue

from jobs.batch_pace import Pace
from jobs.claims import LEASE, Claim, held
from jobs.reports.asking import AT_A_TIME
from jobs.reports.kept import forget_answers
from jobs.reports.making import NothingToCompare, NotMeasured, make
from jobs.reports.states import again, begun, ended, given_back, is_open
from jobs.services import Services
from jobs.store.jobs import Change, Outcome
from jobs.store.records import Fenced
from jobs.wandb_mirror import add_to_summaries
from schemas.errors import ApiError
from schemas.fine_tuning import Job
from schemas.report import JobReport

logger = logging.getLogger(__name__)

_LOOK_EVERY: Final = 1.0
_MAX_HELD: Final = 2
"""Reports that one worker has under way: an engine that does not start holds up one, not all."""
_BROKEN: Final = "The server had an error while making it."


class ReportRunner:
    """The part of a worker that makes reports.

    Args:
        services: Open.
        owner: The worker's id.
    """

    def __init__(self, services: Services, *, owner: str) -> None:
        self._services = services
        self._owner = owner
        self._pace = Pace(services, most=AT_A_TIME)
        self._held = 0

    async def run(self) -> None:
        """Make reports until cancelled; what is under way is then given back."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pace.keep())
            while True:
                try:
                    await self._take(group)
                except (OSError, ApiError) as exc:
                    logger.warning("reports wait: %r", exc)
                await asyncio.sleep(_LOOK_EVERY)

    async def _take(self, group: asyncio.TaskGroup) -> None:
        jobs, now = self._services.store.jobs, time.time()
        for job_id in await jobs.reports_due(now=now, limit=_MAX_HELD - self._held):
            begin = partial(begun, now=now)
            record = await jobs.claim_report(job_id, begin, owner=self._owner, now=now, lease=LEASE)
            if record is not None and record.owner == self._owner:
                self._held += 1
                group.create_task(self._work(Claim(self._services, record)))

    async def _work(self, claim: Claim) -> None:
        try:
            await see_through(claim, self._pace)
            await self._mirror(claim.record.job)
        except (OSError, ApiError) as exc:
            # How it went could not be written down. The lease will run out, and another look find the job.
            logger.warning("left to its lease: job_id=%s %r", claim.job_id, exc)
        finally:
            self._held -= 1

    async def _mirror(self, job: Job) -> None:
        directory = self._services.settings.data_dir / "wandb"
        if job.integrations and (summary := summary_of(job.report)):
            await add_to_summaries(job, summary, directory=directory)


async def see_through(claim: Claim, pace: Pace) -> None:
    """Make a claimed job's report, or write down why there is none; never leave it hanging."""
    await _try(claim, pace)
    if not is_open(claim.record.job.report):
        await forget_answers(claim.services.blobs, claim.job_id)


async def _try(claim: Claim, pace: Pace) -> None:
    try:
        async with held(claim):
            await make(claim, pace)
    except Fenced:
        logger.info("no longer ours: job_id=%s", claim.job_id)
    except NothingToCompare as exc:
        await _end(claim, JobReport(status="skipped", reason=str(exc)))
    except (NotMeasured, ApiError, OSError) as exc:
        logger.warning("report will be tried again: job_id=%s %r", claim.job_id, exc)
        await _if_ours(claim, partial(again, reason=str(exc), now=time.time()))
    except asyncio.CancelledError:
        # We are told to stop: another worker may begin at once.
        await _if_ours(claim, given_back)
        raise
    except Exception:
        # The worker's edge: whatever broke, the report must not hang in "running".
        logger.exception("unexpected, of a report: job_id=%s", claim.job_id)
        await _if_ours(claim, partial(again, reason=_BROKEN, now=time.time()))


def summary_of(report: JobReport | None) -> dict[str, JsonValue]:
    """Return what a mirror of the job's metrics shows of its report; nothing where there is none."""
    if report is None or report.headline is None:
        return {}
    shown = report.headline.model_dump(mode="json") | {"source": report.source}
    return {f"report/{name}": value for name, value in shown.items()}


async def _end(claim: Claim, report: JobReport) -> None:
    await _if_ours(claim, lambda record: Outcome(record=ended(record, report)))


async def _if_ours(claim: Claim, change: Change) -> None:
    try:
        await claim.change(change)
    except Fenced:
        logger.info("no longer ours: job_id=%s", claim.job_id)
