"""What was used, as tests look it up."""

import time


async def usage_of_jobs(services, *, kind="fine_tuning"):
    """Return today's sums by model and job, of training or of what else is asked for."""
    now = int(time.time())
    return await services.store.usage.sums(
        kind=kind,
        start=now // 86_400 * 86_400 - 86_400,
        end=now + 86_400,
        width=10 * 86_400,  # one bucket, also at midnight
        group_by=["model", "job_id"],
        only={},
    )
