"""Jobs that were, without training any: hundreds of them, or one of many steps."""

import math
import random
import time
from collections.abc import Iterator, Sequence

from sqlalchemy import insert

from jobs import events
from jobs.store.jobs import NewEvent, _columns
from jobs.store.store import Store
from jobs.store.tables import job_events, jobs
from schemas.fine_tuning import JobStatus
from schemas.training import StepDone
from tests import samples

STATUSES: tuple[JobStatus, ...] = ("succeeded", "running", "failed", "queued", "cancelled")
_TRAINED = frozenset({"succeeded", "running", "failed"})


async def add_jobs(
    store: Store,
    *,
    count: int,
    steps: int,
    project_id: str,
    suffix: str = "many",
    statuses: Sequence[JobStatus] = STATUSES,
) -> list[str]:
    """Record jobs of each status in turn, those that have begun with their steps; return their ids, oldest first."""
    now, made, told = int(time.time()), [], []
    for number in range(count):
        status = statuses[number % len(statuses)]
        record = samples.record(
            project_id=project_id,
            status=status,
            created_at=now - 60 * (count - number),
            finished_at=now if status in {"succeeded", "failed", "cancelled"} else None,
            model="nano",
            user_provided_suffix=f"{suffix}-{number}",
        ).model_copy(update={"base": "nano"})
        made.append(record)
        if status in _TRAINED:
            told += [_row(record.job.id, new) for new in _events(record.job.id, steps)]
    async with store.database.write() as connection:
        await connection.execute(insert(jobs), [_columns(record) for record in made])
        for place in range(0, len(told), 5000):
            await connection.execute(insert(job_events), told[place : place + 5000])
    return [record.job.id for record in made]


def _events(job_id: str, steps: int) -> Iterator[NewEvent]:
    chance = random.Random(job_id)
    yield events.created(job_id)
    for step in range(1, steps + 1):
        loss = 0.3 + 2.2 * math.exp(-3 * step / steps) + chance.gauss(0, 0.05)
        yield events.step_done(
            StepDone(
                step=step,
                total_steps=steps,
                train_loss=loss,
                train_mean_token_accuracy=1 - min(loss / 3, 1),
                learning_rate=2e-4 * (1 - step / steps),
                grad_norm=abs(chance.gauss(1, 0.3)),
                grad_clipped=False,
                tokens=900,
                seconds=0.25,
                valid_loss=loss + 0.1 if step % 10 == 0 else None,
                valid_mean_token_accuracy=0.8 if step % 10 == 0 else None,
                full_valid_loss=loss + 0.2 if step == steps else None,
                full_valid_mean_token_accuracy=0.79 if step == steps else None,
            )
        )


def _row(job_id: str, new: NewEvent) -> dict[str, object]:
    return {
        "id": new.event.id,
        "job_id": job_id,
        "dedupe_key": new.dedupe_key,
        "created_at": new.event.created_at,
        "event": new.event.model_dump_json(),
    }
